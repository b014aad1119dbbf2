"""Runs an asynchronous handler in one asyncio loop on the main thread, up to *width* at a time.

Each attempt is an asyncio task of its own, also with a width of one: what user code puts into
context variables stays in its attempt, and a cancel cannot hit anything else.
"""

from __future__ import annotations

from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING

from workmanager_executor.endings import end_because_of
from workmanager_executor.faults import cancelled_verdict
from workmanager_executor.ledger import units_of

if TYPE_CHECKING:
    import asyncio

    from workmanager_executor.attempt import Attempt
    from workmanager_executor.frames import Frame
    from workmanager_executor.ledger import Ledger, Unit
    from workmanager_executor.receiving import FrameReader


class AsyncRunner:
    """Handles what the supervisor sends until it says drain."""

    def __init__(
        self,
        ledger: Ledger,
        reader: FrameReader,
        loop: asyncio.AbstractEventLoop,
        *,
        width: int,
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._loop = loop
        self._width = width
        self._waiting: deque[Unit] = deque()
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by the number of the (first) item
        self._begun: set[int] = set()  # tasks whose handler has been entered
        self._is_draining = False
        self._drained: asyncio.Future[None] = loop.create_future()

    def cancel(self, no: int) -> None:
        """Cancel attempt *no*; called by the side thread."""
        self._ledger.hand.cancel(no)
        self._loop.call_soon_threadsafe(self._cancel_task, no)

    def run(self) -> None:
        """Return when everything before the drain frame has been handled."""
        self._take(self._reader.take_waiting())
        self._loop.add_reader(self._reader.fd, self._on_readable)
        try:
            self._loop.run_until_complete(self._drained)
        finally:
            self._loop.remove_reader(self._reader.fd)

    def _on_readable(self) -> None:
        try:
            self._take(self._reader.read_available())
        except BaseException as error:  # noqa: BLE001 - the loop would log it and go on
            end_because_of(error)

    def _take(self, frames: list[Frame]) -> None:
        if frames:
            self._ledger.outbox.begin()
        for frame in frames:
            if frame[0] == "drain":
                self._is_draining = True
            else:
                is_batch = self._ledger.calls.is_batch
                self._waiting.extend(units_of(frame, is_batch=is_batch))
        self._fill()
        self._end_if_idle()

    def _fill(self) -> None:
        """Begin what may run now."""
        while self._waiting and len(self._tasks) < self._width:
            unit = self._waiting.popleft()
            attempt = self._ledger.begin(unit, monotonic_ns())
            if attempt is not None:
                coroutine = self._run_one(attempt, unit[0][3])
                self._tasks[attempt.no] = self._loop.create_task(coroutine)

    async def _run_one(self, attempt: Attempt, wire: bytes) -> None:
        attempt.begun_ns = monotonic_ns()
        self._begun.add(attempt.no)
        if attempt.is_cancelled:
            verdict = cancelled_verdict()
        else:
            verdict = await self._ledger.calls.run_async(attempt, wire)
        self._begun.discard(attempt.no)
        del self._tasks[attempt.no]
        try:
            self._ledger.settle(attempt, verdict, monotonic_ns())
            self._fill()
            self._after_one()
        except BaseException as error:  # noqa: BLE001 - inside of a task nobody would notice
            end_because_of(error)

    def _after_one(self) -> None:
        outbox = self._ledger.outbox
        if not self._tasks:
            outbox.flush()
            self._end_if_idle()
        elif outbox.is_due(monotonic_ns()):
            outbox.flush()
        elif not outbox.is_armed:
            outbox.arm()

    def _end_if_idle(self) -> None:
        if self._is_draining and not self._tasks and not self._drained.done():
            self._drained.set_result(None)

    def _cancel_task(self, no: int) -> None:
        """Cancel the task of *no*; one not entered yet looks at its attempt's flag instead."""
        attempt = self._ledger.hand.running.get(no)
        if attempt is not None and attempt.no in self._begun:
            self._tasks[attempt.no].cancel()
