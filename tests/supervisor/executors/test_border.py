"""What a hostile child can do to the supervisor over its channels and pipes, and what stops it."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from workmanager.executors.channel import MAX_UNSENT_BYTES, STALL_S, Channel, ChannelError
from workmanager.executors.logs import BURST_BYTES, LINE_BYTES, MAX_LINE_BYTES, LineReader
from workmanager.executors.pace import Pace
from workmanager_executor.frames import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

PONG = encode(["pong", 0, {}])


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_pace_lets_a_burst_through_and_then_asks_to_wait():
    pace = Pace(100, 10)
    assert pace.owed_s(10, 0.0) == 0
    assert pace.owed_s(50, 0.0) == pytest.approx(0.5)
    assert pace.owed_s(0, 0.5) == 0
    assert pace.owed_s(10, 100.0) == 0
    assert pace.owed_s(1, 100.0) == pytest.approx(0.01)


async def test_flood_of_tiny_frames_is_read_no_faster_than_its_pace(ends, autojump_clock):
    """On a clock that jumps: the time it takes is what it would wait."""
    ours, theirs = ends
    theirs.setblocking(False)
    seen = 0

    def count(frames: list[list[object]]) -> None:
        nonlocal seen
        seen += len(frames)

    channel = Channel(ours, count, Pace(1000, 100))
    sent = 0
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.run)
            while sent < 5000 * len(PONG):
                await trio.lowlevel.wait_writable(theirs)
                sent += theirs.send(PONG * 200)
            while seen < sent // len(PONG):  # noqa: ASYNC110 - on a clock that jumps
                await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
    assert seen > 4900
    assert trio.current_time() >= (seen - 100) / 1000 - 1


async def test_child_that_does_not_read_is_held_up_to_a_limit_and_then_an_error(ends):
    ours, _ = ends
    channel = Channel(ours, lambda _: None)
    body = bytes(8 * 2**20)
    for _ in range(MAX_UNSENT_BYTES // len(body)):
        channel.send(body)
    with pytest.raises(ChannelError, match="does not read"):
        channel.send(body + body)


async def test_frame_whose_rest_does_not_come_is_told(ends):
    ours, theirs = ends
    channel = Channel(ours, lambda _: None)
    theirs.send(PONG[:3])
    channel.read_available()
    assert not channel.is_stalled(0.0)
    assert not channel.is_stalled(STALL_S)
    assert channel.is_stalled(STALL_S + 0.1)
    theirs.send(PONG[3:5])
    channel.read_available()
    assert not channel.is_stalled(STALL_S + 0.2)
    theirs.send(PONG[5:])
    channel.read_available()
    assert not channel.is_stalled(100.0)


async def test_error_of_a_frame_is_not_wrapped_in_a_group(ends):
    ours, theirs = ends
    channel = Channel(ours, lambda _: None)
    theirs.send(b"\xff\xff\xff\xff")
    with trio.fail_after(5), pytest.raises(ChannelError, match="exceeds the limit"):
        await channel.run()


async def lines_of(data: bytes) -> tuple[list[str], LineReader]:
    """Return the lines that a reader makes of *data*, all of it within one instant."""
    lines: list[str] = []
    read_end, write_end = os.pipe()
    reader = LineReader(read_end, lines.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        os.set_blocking(write_end, False)
        rest = memoryview(data)
        while rest:
            await trio.lowlevel.wait_writable(write_end)
            rest = rest[os.write(write_end, rest[:4096]) :]
        os.close(write_end)
    reader.close()
    return lines, reader


async def test_short_lines_are_bounded_by_their_number(autojump_clock):
    lines, reader = await lines_of(b"\n" * 200_000)
    assert reader.dropped_bytes > 0
    assert len(lines) < 2 * BURST_BYTES / LINE_BYTES


async def test_line_without_an_end_is_cut():
    lines, _ = await lines_of(b"x" * 100_000)
    assert max(map(len, lines)) <= MAX_LINE_BYTES


async def test_lines_of_honest_code_arrive_whole():
    lines, reader = await lines_of(b"".join(b"line %d\n" % n for n in range(1000)))
    assert lines == [f"line {n}" for n in range(1000)]
    assert reader.dropped_bytes == 0
