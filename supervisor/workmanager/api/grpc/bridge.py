"""From the asyncio thread to the trio loop and back: one cancel scope per call.

    asyncio: await bridge.call(work) --run_sync_soon--> trio: work in the nursery, in its own scope
                      ^------------call_soon_threadsafe------------'

A call whose client has gone, or whose deadline has passed, is cancelled by grpc.aio; that cancels
its scope, so the operation ends too. The other way round, a loop that stops refuses what it has
begun: nobody waits for an answer that will not come.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from workmanager.errors import Reason, WorkManagerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Bridge:
    """Runs work of the asyncio thread in the trio loop; made in the trio loop.

    Args:
        nursery: Owns the work; cancelling it refuses every call under way.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run *work* in the trio loop and return what it returns; called in the asyncio thread.

        Raises:
            WorkManagerError: The service is stopping (SHUTTING_DOWN), or what *work* raised.
        """
        call = _Call(work)
        try:
            self._token.run_sync_soon(self._start, call)
        except trio.RunFinishedError:
            raise _stopping() from None
        try:
            return await call.answer
        except asyncio.CancelledError:
            self.soon(call.scope.cancel)
            raise

    def soon(self, act: Callable[[], object]) -> None:
        """Run *act* in the trio loop soon, if it still runs; called from any thread."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(act)

    def _start(self, call: _Call[Any]) -> None:
        if self._nursery.cancel_scope.cancel_called:
            call.refuse(_stopping())
        else:
            self._nursery.start_soon(call.run)


class _Call(Generic[T]):
    """One call under way: a scope in the trio loop, a future in the asyncio thread."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self.scope = trio.CancelScope()
        self._work = work
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[T] = self._loop.create_future()

    async def run(self) -> None:
        """Do the work, in the trio loop; whatever comes of it goes back."""
        settle = self._refusal(_stopping())  # unless it ends in one of the other ways
        try:
            with self.scope:
                settle = self._result(await self._work())
        except Exception as error:  # noqa: BLE001 - the border of a call
            settle = self._refusal(error)
        finally:
            self._back(settle)

    def refuse(self, error: Exception) -> None:
        """Raise *error* where the answer is awaited."""
        self._back(self._refusal(error))

    def _result(self, result: T) -> Callable[[], None]:
        return lambda: self.answer.set_result(result)

    def _refusal(self, error: Exception) -> Callable[[], None]:
        return lambda: self.answer.set_exception(error)

    def _back(self, settle: Callable[[], None]) -> None:
        def settle_once() -> None:
            if not self.answer.done():  # its client may have gone meanwhile
                settle()

        with contextlib.suppress(RuntimeError):  # the asyncio thread has ended
            self._loop.call_soon_threadsafe(settle_once)


def _stopping() -> WorkManagerError:
    return WorkManagerError("the service is stopping", reason=Reason.SHUTTING_DOWN)
