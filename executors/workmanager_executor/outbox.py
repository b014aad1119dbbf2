"""Outcomes on their way to the supervisor, many in one frame.

They are flushed when nothing is left in hand, when the flush before is 1 ms old, when 256 wait, or
when 256 KiB wait. While the next handler runs long, the side thread flushes; it is woken (armed)
only when an outcome waits and another handler begins, so a stream of single events never wakes it.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING

from workmanager_executor.faults import STATUS_NON_RETRYABLE, fault
from workmanager_executor.frames import FrameTooLargeError

if TYPE_CHECKING:
    from typing import Callable, Deque, List, Optional, Tuple

    from workmanager_executor.faults import Fault
    from workmanager_executor.writer import FrameWriter

    Outcome = Tuple[int, int, int, List[List[object]], Optional[Fault]]

MAX_WAITING = 256
MAX_WAITING_BYTES = 256 * 1024
FLUSH_AFTER_NS = 1_000_000


class Outbox:
    """Collects outcomes; any thread may add and flush.

    Attributes:
        pending: Outcomes that wait; runners append to it directly, which is atomic.
        flush_at_ns: Monotonic clock from when on a waiting outcome is flushed.
        is_armed: Whether the side thread looks after the pending outcomes.
        sent_total: Outcomes sent so far.
    """

    __slots__ = (
        "_lock",
        "_waiting_bytes",
        "_wake_side_thread",
        "_writer",
        "flush_at_ns",
        "is_armed",
        "pending",
        "sent_total",
    )

    def __init__(self, writer: FrameWriter, wake_side_thread: Callable[[], None]) -> None:
        self.pending: Deque[Outcome] = deque()
        self.flush_at_ns = 0
        self.is_armed = False
        self.sent_total = 0
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._wake_side_thread = wake_side_thread
        self._writer = writer

    def add(self, outcome: Outcome, size_bytes: int) -> None:
        """Add an outcome that carries about *size_bytes*; flushes if too much waits now."""
        self.pending.append(outcome)
        self._waiting_bytes += size_bytes
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            self.flush()

    def is_due(self, now_ns: int) -> bool:
        """Whether the pending outcomes have to go out now, though more is in hand."""
        return now_ns >= self.flush_at_ns or len(self.pending) >= MAX_WAITING

    def arm(self) -> None:
        """Have the side thread flush what waits when its time has come."""
        self.is_armed = True
        self._wake_side_thread()

    def begin(self) -> None:
        """Start the clock: work has come in after there was none."""
        self.flush_at_ns = monotonic_ns() + FLUSH_AFTER_NS

    def flush(self) -> None:
        """Send everything that waits."""
        pending = self.pending
        if not pending:
            return
        with self._lock:
            self._waiting_bytes = 0
            outcomes = [pending.popleft() for _ in range(len(pending))]
            if outcomes:
                self._send(outcomes)
                self.sent_total += len(outcomes)
            self.flush_at_ns = monotonic_ns() + FLUSH_AFTER_NS

    def finish(self) -> None:
        """Send everything that waits; when this returns, the side thread's flush is out, too."""
        self.flush()
        with self._lock:
            return

    def _send(self, outcomes: list[Outcome]) -> None:
        try:
            self._writer.send(["done", outcomes])
        except FrameTooLargeError as error:
            if len(outcomes) == 1:
                self._send([_too_large(outcomes[0], error)])
                return
            for outcome in outcomes:
                self._send([outcome])


def _too_large(outcome: Outcome, error: FrameTooLargeError) -> Outcome:
    no, _, duration_us, _, _ = outcome
    reason = fault("OutputTooLarge", str(error), "", None)
    return no, STATUS_NON_RETRYABLE, duration_us, [], reason
