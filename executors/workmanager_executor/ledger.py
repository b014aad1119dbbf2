"""Book-keeping around a handler's call: what begins, what ends, what goes to the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager_executor.attempt import Attempt, Batch, Hand
from workmanager_executor.calls import outcomes_of
from workmanager_executor.faults import MAX_FAULT_BYTES, cancelled_verdict
from workmanager_executor.job import ProtocolError

if TYPE_CHECKING:
    from typing import Any, List

    from workmanager_executor.calls import Calls
    from workmanager_executor.faults import Verdict
    from workmanager_executor.frames import Frame
    from workmanager_executor.logs import LogSink
    from workmanager_executor.outbox import Outbox

    # [no, task number, attempt, wire, fencing token | nil]
    Item = List[Any]
    Unit = List[Item]  # what one call of the handler takes: a batch, or a single item

_ITEM_PARTS = 5


class Ledger:
    """The attempts of one executor, from the frame that brings them to the outbox."""

    __slots__ = ("calls", "hand", "logs", "outbox")

    def __init__(self, calls: Calls, outbox: Outbox, logs: LogSink) -> None:
        self.calls = calls
        self.outbox = outbox
        self.logs = logs
        self.hand = Hand()

    def begin(self, unit: Unit, now_ns: int) -> Attempt | None:
        """Enter the attempt of *unit*; None if all of it was cancelled before."""
        items = [item for item in unit if not self.refuse_cancelled(item[0])]
        if not items:
            return None
        no, task_number, number, _, fence = items[0]
        attempt = Attempt(no, task_number, number, fence, now_ns)
        if self.calls.is_batch:
            attempt.batch = Batch([item[0] for item in items], [item[3] for item in items])
        for entered in attempt.nos:
            self.hand.running[entered] = attempt
        return attempt

    def refuse_cancelled(self, no: int) -> bool:
        """Settle *no* at once if it was cancelled before it began."""
        if not self.hand.take_cancel(no):
            return False
        status, outputs, error = cancelled_verdict()
        self.outbox.pending.append((no, status, 0, outputs, error))
        return True

    def settle(self, attempt: Attempt, verdict: Verdict, now_ns: int) -> None:
        """Close the attempt and put its outcome into the outbox."""
        if attempt.log is not None:
            self.logs.close(attempt)
        attempt.is_done = True
        for no in attempt.nos:
            self.hand.running.pop(no, None)
        duration_us = (now_ns - attempt.begun_ns) // 1000
        size_bytes = 0 if attempt.outputs is None else attempt.outputs.size_bytes
        for outcome in outcomes_of(attempt, verdict, duration_us):
            error = outcome[4]
            self.outbox.add(outcome, size_bytes if error is None else MAX_FAULT_BYTES)
            size_bytes = 0


def items_of(frame: Frame) -> list[Item]:
    """Return the items of a run or batch frame.

    Raises:
        ProtocolError: They are not what an item is.
    """
    items = frame[1] if len(frame) == 2 else None
    if not isinstance(items, list) or not all(
        type(item) is list and len(item) == _ITEM_PARTS for item in items
    ):
        raise ProtocolError(f"{frame[0]!r:.50} needs a list of items")
    return items


def units_of(frame: Frame, *, is_batch: bool) -> list[Unit]:
    """Return what a run or batch frame asks for.

    Raises:
        ProtocolError: The frame is of another kind, or of no use to this handler.
    """
    if frame[0] == "run":
        return [[item] for item in items_of(frame)]
    if frame[0] == "batch" and is_batch:
        items = items_of(frame)
        return [items] if items else []
    raise ProtocolError(f"frame {frame[0]!r:.50} is not understood here")
