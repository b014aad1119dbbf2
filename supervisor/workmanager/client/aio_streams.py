"""Streams of the asynchronous client; see `workmanager.client.streams`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import anyio
import anyio.lowlevel
import sniffio

from workmanager.client.problems import ClientError
from workmanager.client.retries import Reconnects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    import trio

    from workmanager.client.call import Call, Json
    from workmanager.client.streams import Follow

T = TypeVar("T")


class AsyncSource(Protocol):
    """An open stream; see `streams.Source`."""

    async def receive(self) -> Sequence[Json]:
        """Wait for items and return those that came."""

    async def close(self) -> None:
        """End it."""


class AsyncLink(Protocol):
    """The way to one service; see `streams.Link`."""

    async def ask(self, call: Call[Any]) -> Json:
        """Return the answer to *call*, sent once."""

    async def open(self, follow: Follow, nursery: trio.Nursery | None) -> AsyncSource:
        """Open a stream; *nursery* is there on trio, for what runs beside it."""

    async def close(self) -> None:
        """Close what is open."""


@asynccontextmanager
async def stream_scope() -> AsyncIterator[trio.Nursery | None]:
    """Hold what a stream runs beside it: a nursery on trio, nothing on asyncio.

    It outlives the connections of the stream, which come and go inside the caller's own scopes.
    """
    if sniffio.current_async_library() != "trio":
        yield None
        return
    import trio

    own: Exception | None = None
    async with trio.open_nursery(strict_exception_groups=True) as nursery:
        try:
            yield nursery
        except Exception as error:  # noqa: BLE001 - raised below, not wrapped into a group
            own = error
        nursery.cancel_scope.cancel()
    if own is not None:
        raise own


class AsyncStream(Generic[T]):
    """Iterates over what is followed, for as long as there is a service.

    Iterating raises `ClientError` where the service refuses, or where it was away for more than
    *patience_s*, or about ten seconds. Cancelling it loses nothing: iterate again.
    """

    def __init__(
        self,
        link: AsyncLink,
        follow: Follow,
        read: Callable[[Json], T],
        nursery: trio.Nursery | None,
        *,
        patience_s: float = 0.0,
    ) -> None:
        self._link = link
        self._patience_s = patience_s
        self._follow = follow
        self._read = read
        self._nursery = nursery
        self._call = follow.call
        self._source: AsyncSource | None = None
        self._waiting: list[Json] = []
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        await anyio.lowlevel.checkpoint()
        while not self._waiting:
            if self._is_closed:
                raise StopAsyncIteration
            self._waiting = list(reversed(await self._receive()))
        item = self._waiting.pop()
        self._call = self._follow.advance(self._call, item)
        return self._read(item)

    async def open(self) -> None:
        """Open it, however often that has to be tried."""
        reconnects = Reconnects(self._patience_s)
        while self._source is None:
            try:
                await self._open_once()
            except ClientError as error:
                await self._wait_after(error, reconnects)

    async def close(self) -> None:
        """End the stream."""
        self._is_closed = True
        await self._drop()

    async def _receive(self) -> Sequence[Json]:
        reconnects = Reconnects(self._patience_s)
        while True:
            try:
                await self._open_once()
                return await self._source.receive() if self._source is not None else ()
            except ClientError as error:
                await self._wait_after(error, reconnects)

    async def _open_once(self) -> None:
        if self._source is None:
            follow = replace(self._follow, call=self._call)
            self._source = await self._link.open(follow, self._nursery)

    async def _wait_after(self, error: ClientError, reconnects: Reconnects) -> None:
        """Wait before the stream is opened again; raise *error* where that cannot help."""
        await self._drop()
        delay_s = reconnects.delay_s(error)
        if delay_s is None:
            self._is_closed = True
            raise error
        await anyio.sleep(delay_s)

    async def _drop(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            await source.close()
