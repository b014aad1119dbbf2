"""The way of the asynchronous client to a service over gRPC, on trio and on asyncio.

grpc's own asynchronous part knows asyncio only. Here its futures wake the loop from the thread that
they end in, and a stream waits for its next message in a thread.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import sniffio

from workmanager.client.grpc_link import GrpcLink
from workmanager.client.problems import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import trio

    from workmanager.client.call import Call, Json
    from workmanager.client.grpc_link import GrpcSource
    from workmanager.client.streams import Follow
    from workmanager.client.target import Target


class AsyncGrpcLink:
    """Holds the channel to one target; tasks may share it."""

    def __init__(self, target: Target, *, token: str, timeout_s: float) -> None:
        self._link = GrpcLink(target, token=token, timeout_s=timeout_s)

    async def close(self) -> None:
        """Close the channel."""
        self._link.close()

    async def ask(self, call: Call[Any]) -> Json:
        """Return the answer to *call*, sent once.

        Raises:
            ClientError: It was refused, or there was no answer.
        """
        future = self._link.send(call)
        is_done = anyio.Event()
        wake = _waker(is_done)
        future.add_done_callback(lambda _: wake())
        try:
            await is_done.wait()
        finally:
            future.cancel()  # the service learns of a cancelled call; nothing, once it is done
        return self._link.answer(call, future)

    async def open(self, follow: Follow, nursery: trio.Nursery | None) -> AsyncGrpcSource:  # noqa: ARG002 - not needed here
        """Open a stream."""
        return AsyncGrpcSource(self._link.open(follow), str(self._link.target))


class AsyncGrpcSource:
    """An open stream of messages."""

    def __init__(self, source: GrpcSource, target: str) -> None:
        self._source = source
        self._target = target
        self._limiter = anyio.CapacityLimiter(1)  # a thread of its own: it waits for long
        self._is_broken = False

    async def receive(self) -> Sequence[Json]:
        """Wait for items and return those that came."""
        if self._is_broken:
            raise ConnectionLostError(self._target, "the stream was cut while it was waited for")
        self._is_broken = True  # a message that comes after a cancellation is lost in its thread
        items = await anyio.to_thread.run_sync(
            self._source.receive, abandon_on_cancel=True, limiter=self._limiter
        )
        self._is_broken = False
        return items

    async def close(self) -> None:
        """End it; the thread that waits for it ends with it."""
        self._source.close()


def _waker(event: anyio.Event) -> Callable[[], None]:
    """Return what sets *event* from another thread; nothing happens once the loop has ended."""
    if sniffio.current_async_library() == "trio":
        import trio

        token = trio.lowlevel.current_trio_token()

        def wake_trio() -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(event.set)

        return wake_trio
    loop = asyncio.get_running_loop()

    def wake_asyncio() -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(event.set)

    return wake_asyncio
