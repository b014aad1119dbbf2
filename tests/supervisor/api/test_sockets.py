"""Pushing over a WebSocket: it ends when the client goes, and the loop never stops."""

import itertools
import json
from contextlib import asynccontextmanager

import pytest
import trio
import trio_websocket
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from workmanager.api.rest import sockets
from workmanager.api.rest.sockets import push
from workmanager.errors import SlowReaderError


class Pusher:
    """An application that pushes what a source gives; `ended` is set when it stops."""

    def __init__(self, take, *, dropped=None):
        self.ended = trio.Event()
        self._take = take
        self._dropped = dropped

    def app(self):
        return Starlette(routes=[WebSocketRoute("/", self._serve)])

    async def _serve(self, websocket):
        await websocket.accept()
        try:
            await push(websocket, self._take, dropped=self._dropped)
        finally:
            self.ended.set()


def numbers():
    """Texts that are there at once, without a checkpoint between them."""
    counter = itertools.count()

    async def take():
        return str(next(counter))

    return take


@asynccontextmanager
async def connect(url):
    """Open a WebSocket over a stream of our own: trio-websocket 0.12.2 leaves some unclosed."""
    host, port = url.partition("://")[2].rsplit(":", 1)
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream, trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(nursery, stream, host, "/")
        async with socket:
            yield socket


async def test_texts_arrive_in_order(net):
    async with net.serving(Pusher(numbers()).app()) as (urls, _), connect(urls[0]) as socket:
        assert [await socket.get_message() for _ in range(100)] == [str(n) for n in range(100)]


async def test_a_gone_client_ends_a_push_that_never_pauses(net):
    """The trap: hypercorn's send to a gone client has no checkpoint."""
    pusher = Pusher(numbers())
    async with net.serving(pusher.app()) as (urls, _):
        stream = await net.connect(urls[0])
        await stream.send_all(HANDSHAKE)
        await net.read_until(stream, b"\r\n\r\n")
        await trio.aclose_forcefully(stream)
        await pusher.ended.wait()


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def test_a_polite_close_ends_a_push_that_waits(net):
    pusher = Pusher(trio.sleep_forever)
    async with net.serving(pusher.app()) as (urls, _):
        async with connect(urls[0]):
            pass
        await pusher.ended.wait()


async def test_what_the_client_says_is_read_and_thrown_away(net):
    async with net.serving(Pusher(numbers()).app()) as (urls, _), connect(urls[0]) as socket:
        for _ in range(200):
            await socket.send_message("x" * 1000)
            await socket.get_message()


async def test_a_stop_of_the_service_closes_with_a_reason(net):
    pusher = Pusher(trio.sleep_forever)
    async with net.serving(pusher.app()) as (urls, shutdown), connect(urls[0]) as socket:
        shutdown.set()
        with pytest.raises(trio_websocket.ConnectionClosed) as caught:
            await socket.get_message()
    assert (caught.value.reason.code, caught.value.reason.reason) == (
        1001,
        "the service is stopping",
    )


async def test_a_refusal_is_told_before_the_close(net):
    async def take():
        raise SlowReaderError("cut off: why")

    async with net.serving(Pusher(take).app()) as (urls, _), connect(urls[0]) as socket:
        told = json.loads(await socket.get_message())["error"]
        assert (told["reason"], told["detail"]) == ("SLOW_READER", "cut off: why")
        with pytest.raises(trio_websocket.ConnectionClosed) as caught:
            await socket.get_message()
    assert (caught.value.reason.code, caught.value.reason.reason) == (1013, "SLOW_READER")


async def test_a_fault_of_ours_is_told_without_its_cause(net):
    async def take():
        raise ZeroDivisionError("secret")

    async with net.serving(Pusher(take).app()) as (urls, _), connect(urls[0]) as socket:
        told = await socket.get_message()
        assert "INTERNAL" in told
        assert "secret" not in told


async def test_a_client_that_does_not_read_is_left_after_a_grace(net, monkeypatch):
    for name in ("GRACE_S", "FAREWELL_S"):
        monkeypatch.setattr(sockets, name, 0.05)
    monkeypatch.setattr("workmanager.api.streams.SEND_STALL_S", 0.3)
    dropped = trio.Event()

    async def take():
        return "x" * 100_000

    pusher = Pusher(take, dropped=dropped)
    async with net.serving(pusher.app()) as (urls, _):
        stream = await net.connect(urls[0])
        await stream.send_all(HANDSHAKE)
        dropped.set()
        await pusher.ended.wait()
        await trio.aclose_forcefully(stream)


async def test_a_client_that_reads_on_after_the_grace_learns_why(net, monkeypatch):
    monkeypatch.setattr(sockets, "GRACE_S", 0.05)
    dropped, stuck = trio.Event(), trio.Event()

    async def take():
        stuck.set()
        return "x" * 900_000

    async with net.serving(Pusher(take, dropped=dropped).app()) as (urls, _):
        host, port = urls[0].partition("://")[2].rsplit(":", 1)
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream, trio.open_nursery() as nursery:
            socket = await trio_websocket.wrap_client_stream(nursery, stream, host, "/")
            await stuck.wait()
            dropped.set()
            await trio.sleep(0.2)  # time must pass: the grace is over
            told = await socket.get_message()
            while told[0] == "x":
                told = await socket.get_message()
            assert json.loads(told)["error"]["reason"] == "SLOW_READER"
