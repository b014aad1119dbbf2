"""The asynchronous client, on trio and on asyncio: `WorkManagerClient` with awaitable methods."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import anyio

from workmanager.client.aio_streams import AsyncStream, stream_scope
from workmanager.client.calls import Calls
from workmanager.client.light import DEFAULT_TIMEOUT_S, locate
from workmanager.client.problems import ClientError, ClientTimeoutError
from workmanager.client.retries import Attempts
from workmanager.client.streams import Follow, follow_changes, follow_logs
from workmanager.client.typed import BATCH, MAX_PAGE_SIZE, POLL_S

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
        Mapping,
        Sequence,
    )
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from workmanager.client.aio_streams import AsyncLink
    from workmanager.client.call import Call, Json, Method
    from workmanager.client.target import Target
    from workmanager.client.tls import Tls
    from workmanager.model.resources import Change, LogLine, Operation, Page, PublishResult

T = TypeVar("T")

CLOSE_S = 5.0  # closing is at once, but for a WebSocket that says farewell


class AsyncWorkManagerClient(Calls):
    """Calls a WorkManager service; an asynchronous context manager that closes its connections.

    trio tasks, or tasks of one asyncio loop, may share it. Cancelling a call ends it here; what the
    service has begun it may still do. Arguments and errors are those of `WorkManagerClient`.
    """

    def __init__(
        self,
        target: str | Target | None = None,
        *,
        token: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        patience_s: float = 0.0,
        tls: Tls | None = None,
    ) -> None:
        self.target, token = locate(target, token, tls)
        self._patience_s = patience_s
        self._link = open_link(self.target, token=token, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.move_on_after(CLOSE_S, shield=True):
            await self.close()

    async def close(self) -> None:
        """Close the connections; the next call opens another."""
        await self._link.close()

    async def run(self, method: Method[..., Any], call: Call[Any]) -> object:
        """Run a call of the table; what `Method` binds to."""
        from workmanager.client.results import read_result

        answer = await self._ask(call)
        return read_result(method, call.pick(answer) if call.pick is not None else answer)

    def tail_logs(
        self, ref: str = "", *, since_seq: int = 0, tail: int = 100
    ) -> AbstractAsyncContextManager[AsyncStream[LogLine]]:
        """Follow log lines, see `WorkManagerClient.tail_logs`: `async with ... as lines`."""
        from workmanager.client.results import read_line

        return self._stream(follow_logs(ref, since_seq, tail), read_line)

    def watch(
        self,
        kinds: Sequence[str] | str = ("workers",),
        *,
        worker: str = "",
        resume_token: str = "",
    ) -> AbstractAsyncContextManager[AsyncStream[Change]]:
        """Follow changes, see `WorkManagerClient.watch`: `async with ... as changes`."""
        from workmanager.client.results import read_change

        return self._stream(follow_changes(kinds, worker, resume_token), read_change)

    async def publish_all(
        self, topic: str, events: Iterable[Mapping[str, Any]], *, batch: int = BATCH
    ) -> PublishResult:
        """Publish any number of events, see `WorkManagerClient.publish_all`."""
        from workmanager.client.batches import Sums, batches

        sums = Sums(topic)
        for some in batches(events, batch):
            sums.add(await self.publish(topic, some))
        return sums.result()

    def each(
        self, fetch: Callable[..., Awaitable[Page[T]]], *args: object, **filters: object
    ) -> Items[T]:
        """Iterate over the items of all pages; see `WorkManagerClient.each`."""
        return Items(
            lambda token: fetch(*args, page_size=MAX_PAGE_SIZE, page_token=token, **filters)
        )

    async def finish(self, operation: Operation, *, timeout_s: float = 60.0) -> Operation:
        """Wait until an operation is done, see `WorkManagerClient.finish`."""
        ends_at_s = time.monotonic() + timeout_s
        while not operation.done:
            if time.monotonic() > ends_at_s:
                raise ClientTimeoutError(str(self.target), timeout_s)
            await anyio.sleep(POLL_S)
            operation = await self.get_operation(operation.id)
        return operation

    async def _ask(self, call: Call[Any]) -> Json:
        attempts = Attempts(call, self._patience_s)
        while True:
            try:
                return await self._link.ask(call)
            except ClientError as error:
                delay_s = attempts.delay_s(error)
                if delay_s is None:
                    raise
            await anyio.sleep(delay_s)

    @asynccontextmanager
    async def _stream(
        self, follow: Follow, read: Callable[[Json], T]
    ) -> AsyncIterator[AsyncStream[T]]:
        async with stream_scope() as nursery:
            stream = AsyncStream(self._link, follow, read, nursery, patience_s=self._patience_s)
            try:
                await stream.open()
                yield stream
            finally:
                with anyio.move_on_after(CLOSE_S, shield=True):
                    await stream.close()


def open_link(where: Target, *, token: str, timeout_s: float) -> AsyncLink:
    """Return the way to a service, going by its target."""
    if not where.is_grpc:
        from workmanager.client.aio_session import AsyncSession

        return AsyncSession(where, token=token, timeout_s=timeout_s)
    from workmanager.client.grpc_aio import AsyncGrpcLink

    return AsyncGrpcLink(where, token=token, timeout_s=timeout_s)


class Items(Generic[T]):
    """Iterates over the items of all pages."""

    def __init__(self, fetch: Callable[[str], Awaitable[Page[T]]]) -> None:
        self._fetch = fetch
        self._waiting: list[T] = []
        self._token: str | None = ""  # None: that was the last page

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._waiting:
            if self._token is None:
                raise StopAsyncIteration
            page = await self._fetch(self._token)
            self._token = page.next_page_token or None
            self._waiting = list(reversed(page.items))
        return self._waiting.pop()
