"""All deadlines of the service in one heap, served by one trio task.

Deadlines are data, not tasks: thousands of them cost nothing until they fire. A callback runs in
the loop, must not block, and must not raise.
"""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import TYPE_CHECKING

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()


class Timer:
    """A pending callback; `cancel` makes it do nothing."""

    __slots__ = ("_call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Forget the callback; it stays in the heap until its time, as nothing."""
        self._call = None

    def fire(self) -> None:
        """Run the callback once."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Timers:
    """Runs callbacks at times of trio's clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._sleeping: trio.CancelScope | None = None

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        """Run *call* at *when* (seconds of `trio.current_time()`)."""
        timer = Timer(when, call)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        if self._sleeping is not None and when < self._sleeping.deadline:
            self._sleeping.deadline = when
        return timer

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Run *call* in *delay_s* seconds."""
        return self.at(trio.current_time() + delay_s, call)

    async def run(self) -> None:
        """Serve the heap until cancelled."""
        while True:
            deadline = self._heap[0][0] if self._heap else math.inf
            with trio.CancelScope(deadline=deadline) as self._sleeping:
                await trio.sleep_forever()
            self._sleeping = None
            await trio.lowlevel.checkpoint()
            self._fire_due(trio.current_time())

    def _fire_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            try:
                timer.fire()
            except Exception:
                log.exception("timer_failed")
