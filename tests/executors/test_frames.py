"""The frame codec: round trips under any chunking, and nothing but FrameError for garbage."""

from __future__ import annotations

import struct

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workmanager_executor import frames
from workmanager_executor.frames import Decoder, FrameError, FrameTooLargeError, encode

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=300)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
frame_lists = st.lists(st.tuples(st.text(max_size=10), values).map(list), max_size=6)


@given(frame_lists, st.data())
def test_frames_survive_any_chunking(sent, data):
    stream = b"".join(encode(frame) for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = Decoder()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += decoder.feed(stream[start:end])
    assert received == sent
    assert decoder.buffered_bytes == 0


@given(st.binary(max_size=400))
def test_garbage_raises_only_frame_error(garbage):
    decoder = Decoder(max_bytes=1000)
    try:
        decoder.feed(garbage)
    except FrameError:
        with pytest.raises(FrameError):
            decoder.feed(b"")


@given(st.binary(min_size=1, max_size=400))
def test_garbage_body_raises_only_frame_error(body):
    try:
        (frame,) = Decoder().feed(struct.pack(">I", len(body)) + body)
    except FrameError:
        return
    assert isinstance(frame[0], str)


@given(values)
@settings(max_examples=200)
def test_elements_are_counted_as_msgpack_has_them(value):
    """The header walk ends exactly at the end of any valid body."""
    frames._bound_elements(memoryview(msgpack.packb(value)))
    assert _walk_length(msgpack.packb(value)) == _count(value)


def _walk_length(body: bytes) -> int:
    position = count = 0
    while position < len(body):
        fixed, width = frames._SHAPES[body[position]]
        position += 1 + width + fixed + int.from_bytes(body[position + 1 :][:width], "big")
        count += 1
    assert position == len(body)
    return count


def _count(value: object) -> int:
    if isinstance(value, list):
        return 1 + sum(map(_count, value))
    if isinstance(value, dict):
        return 1 + sum(1 + _count(inner) for inner in value.values())
    return 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        msgpack.packb({"kind": "run"}),
        msgpack.packb([]),
        msgpack.packb([1, "run"]),
        msgpack.packb([b"run"]),
        msgpack.packb(["run"]) + b"\x00",
        msgpack.packb(["run", msgpack.ExtType(5, b"x")]),
        msgpack.packb(["run", {1: 2}], strict_types=True),
        b"\x92\xa3run",
        b"\x92\xa1\xff\x00",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\xc1",
    ],
)
def test_malformed_body_is_refused(body):
    with pytest.raises(FrameError):
        Decoder().feed(struct.pack(">I", len(body)) + body)


def test_timestamp_comes_out_as_a_plain_integer():
    """msgpack decodes its own extension before any hook; it must not yield a foreign object."""
    body = msgpack.packb(["log", msgpack.Timestamp(3, 7)])
    (frame,) = Decoder().feed(struct.pack(">I", len(body)) + body)
    assert frame == ["log", 3_000_000_007]


def test_oversize_is_refused_at_the_header_before_any_body():
    decoder = Decoder(max_bytes=100)
    with pytest.raises(FrameTooLargeError) as caught:
        decoder.feed(struct.pack(">I", 101))
    assert (caught.value.size, caught.value.limit) == (101, 100)
    with pytest.raises(FrameError, match="exceeds the limit"):
        decoder.feed(encode(["ping", 1]))


def test_encode_refuses_what_the_peer_would_refuse():
    with pytest.raises(FrameTooLargeError):
        encode(["run", b"x" * 200], max_bytes=100)
    with pytest.raises(FrameTooLargeError, match="values"):
        encode(["run", [[]] * 300_000])


def test_frame_of_many_empty_arrays_is_refused_before_it_is_built():
    body = b"\x92\xa4done" + b"\xdd" + struct.pack(">I", 1 << 20) + b"\x90" * (1 << 20)
    with pytest.raises(FrameError, match="values"):
        Decoder().feed(struct.pack(">I", len(body)) + body)


def test_large_honest_frame_passes():
    frame = ["run", [[number, b"x" * 60_000] for number in range(250)]]
    decoder, received = Decoder(), []
    stream = encode(frame)
    for start in range(0, len(stream), 65536):
        received += decoder.feed(stream[start : start + 65536])
    assert received == [frame]
