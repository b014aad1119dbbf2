"""Server-sent events: the source ends when the client goes, and the loop never stops."""

from contextlib import aclosing, asynccontextmanager

import trio

from workmanager.api.rest import streaming
from workmanager.api.rest.streaming import EventStreamResponse, sse_event

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Source:
    """Events without end; `closed` is set when nobody takes them any more."""

    def __init__(self, *, pause_s=0.0, count=2**31):
        self.closed = trio.Event()
        self._pause_s = pause_s
        self._count = count

    @asynccontextmanager
    async def __call__(self):
        try:
            async with aclosing(self._events()) as events:
                yield events
        finally:
            self.closed.set()

    async def _events(self):
        for number in range(self._count):
            yield sse_event(b"x" * 100, event_id=str(number))
            if self._pause_s:
                await trio.sleep(self._pause_s)

    def app(self):
        async def app(scope, receive, send):
            await receive()  # the request itself
            await EventStreamResponse(self())(scope, receive, send)

        return app


async def test_events_arrive_in_order_and_the_answer_ends_with_the_source(net):
    source = Source(count=500)
    async with net.serving(source.app()) as (urls, _), await net.connect(urls[0]) as stream:
        await stream.send_all(GET)
        text = await net.read_until(stream, b"\r\n0\r\n\r\n")
    assert b"content-type: text/event-stream" in text
    positions = [text.index(b"id: %d\n" % number) for number in range(500)]
    assert positions == sorted(positions)
    assert source.closed.is_set()


async def test_a_gone_client_ends_a_source_that_never_pauses(net):
    """The trap: hypercorn's send to a gone client has no checkpoint."""
    source = Source()
    async with net.serving(source.app()) as (urls, _):
        async with await net.connect(urls[0]) as stream:
            await stream.send_all(GET)
            await net.read_until(stream, b"id: 0")
        await source.closed.wait()


async def test_a_gone_client_ends_a_silent_source(net):
    source = Source(pause_s=3600)
    async with net.serving(source.app()) as (urls, _):
        async with await net.connect(urls[0]) as stream:
            await stream.send_all(GET)
            await net.read_until(stream, b"id: 0")
        await source.closed.wait()


async def test_shutdown_ends_the_stream_properly(net):
    source = Source(pause_s=3600)
    async with net.serving(source.app()) as (urls, shutdown), await net.connect(urls[0]) as stream:
        await stream.send_all(GET)
        await net.read_until(stream, b"id: 0")
        shutdown.set()
        assert (await net.read_until(stream, b"0\r\n\r\n")).endswith(b"0\r\n\r\n")


async def test_a_slow_client_slows_the_source(net, monkeypatch):
    """What is not read waits in a bounded buffer, not in memory."""
    source = Source()
    produced = 0
    events = source._events

    async def counted():
        nonlocal produced
        async with aclosing(events()) as inner:
            async for event in inner:
                produced += len(event)
                yield event

    source._events = counted
    async with net.serving(source.app()) as (urls, _), await net.connect(urls[0]) as stream:
        await stream.send_all(GET)
        await net.read_until(stream, b"id: 0")
        last = -1
        while produced != last:
            last = produced
            await trio.testing.wait_all_tasks_blocked(0.05)
        assert produced < 64 * 1024 * 1024


async def test_silence_is_broken_by_comments(net, monkeypatch):
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.01)
    source = Source(pause_s=3600)
    async with net.serving(source.app()) as (urls, _), await net.connect(urls[0]) as stream:
        await stream.send_all(GET)
        assert b": keep-alive\n\n" in await net.read_until(stream, b": keep-alive\n\n")
