"""Server-sent events that end when the client goes, when the service stops, or with the source.

Hypercorn's `send` to a client that has gone returns at once, without a checkpoint (0.18): a bare
`while True: await send(...)` would stop the whole trio loop. So the push loop runs beside one that
receives, and passes a checkpoint after each send. One send takes all events that have come since
the last, so a worker that floods its log costs one system call per 64 KiB and not per line.

Source: WHATWG HTML, section 9.2 "Server-sent events".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import trio
from starlette.responses import Response

from workmanager.api.turns import TURNS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE_S = 15.0  # proxies cut what is silent for a minute
BUFFER_BYTES = 64 * 1024  # when full the source waits


class EventStreamResponse(Response):
    """Streams the chunks of *source*, each made of whole events by `sse_event`."""

    media_type = MEDIA_TYPE

    def __init__(self, source: AbstractAsyncContextManager[AsyncIterator[bytes]]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then events until one of the three ends comes."""
        stopping = cast("trio.Event | None", scope.get("state", {}).get("stopping"))
        async with self._source as chunks:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with trio.open_nursery() as nursery:
                end = nursery.cancel_scope
                nursery.start_soon(_cancel_after, end, partial(_wait_gone, receive))
                if stopping is not None:
                    nursery.start_soon(_cancel_after, end, stopping.wait)
                buffer = _Buffer()
                nursery.start_soon(_push, buffer, send)
                nursery.start_soon(_keep_alive, buffer)
                async for chunk in chunks:
                    await buffer.put(chunk)
                await buffer.flushed()
                end.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def sse_event(data: bytes, *, event_id: str) -> bytes:
    """Encode one event; *data* is one line, such as JSON, *event_id* the token to resume after."""
    return b"id: %b\ndata: %b\n\n" % (event_id.encode(), data)


class _Buffer:
    """What is to be sent; one trio task takes it all at once."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._filled = trio.Event()
        self._taken = trio.Event()

    async def put(self, chunk: bytes) -> None:
        """Add *chunk*, once there is room."""
        while len(self._data) >= BUFFER_BYTES:
            await self._taken.wait()
        self._data += chunk
        self._filled.set()

    async def take(self) -> bytes:
        """Wait for something and take all of it."""
        await self._filled.wait()
        data, self._data = bytes(self._data), bytearray()
        self._filled = trio.Event()
        taken, self._taken = self._taken, trio.Event()
        taken.set()
        return data

    async def flushed(self) -> None:
        """Wait until everything put so far has been taken."""
        while self._data:
            await self._taken.wait()


async def _push(buffer: _Buffer, send: Send) -> None:
    while True:
        data = await buffer.take()
        with trio.CancelScope(shield=True):  # events taken are sent whole; the stream has its limit
            await TURNS.wait()
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await trio.lowlevel.checkpoint()


async def _keep_alive(buffer: _Buffer) -> None:
    while True:
        await trio.sleep(KEEP_ALIVE_S)
        await buffer.put(b": keep-alive\n\n")


async def _wait_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel_after(scope: trio.CancelScope, wait: Callable[[], Awaitable[None]]) -> None:
    await wait()
    scope.cancel()
