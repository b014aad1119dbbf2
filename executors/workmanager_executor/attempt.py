"""One run of a task as the runtime keeps book of it, and all attempts in hand."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager_executor.event import Event
    from workmanager_executor.faults import Fault
    from workmanager_executor.logs import LogBook
    from workmanager_executor.outputs import Outputs

_MAX_REMEMBERED = 1024  # far more than can be in hand


class Attempt:
    """What is known of one attempt; for a batch, of its first item.

    Attributes:
        no: Number on the channel, never used twice in one executor.
        fence: Fencing token of the group; None outside of groups.
        begun_ns: Monotonic clock at the start of the handler.
        batch: The items of a batch; None for a single event.
        outputs: What was published; None while nothing was, which is the common case.
        log: What it has logged; None while it has logged nothing.
    """

    __slots__ = (
        "attempt",
        "batch",
        "begun_ns",
        "fence",
        "is_cancelled",
        "is_done",
        "log",
        "no",
        "outputs",
        "task_number",
    )

    batch: Batch | None
    outputs: Outputs | None
    log: LogBook | None

    def __init__(
        self, no: int, task_number: int, attempt: int, fence: int | None, begun_ns: int
    ) -> None:
        self.no = no
        self.task_number = task_number
        self.attempt = attempt
        self.fence = fence
        self.begun_ns = begun_ns
        self.batch = None
        self.outputs = None
        self.log = None
        self.is_cancelled = False
        self.is_done = False

    @property
    def nos(self) -> Sequence[int]:
        """Numbers of all its items."""
        return (self.no,) if self.batch is None else self.batch.nos


class Batch:
    """The items of one call of `process_batch`.

    Attributes:
        failures: Faults of single items, by their place in the batch.
    """

    __slots__ = ("events", "failures", "nos", "wires")

    def __init__(self, nos: Sequence[int], wires: Sequence[bytes]) -> None:
        self.nos = nos
        self.wires = wires
        self.events: list[Event] = []
        self.failures: dict[int, tuple[int, Fault]] = {}


current: ContextVar[Attempt | None] = ContextVar("workmanager_attempt", default=None)


class Hand:
    """The attempts that run, and the cancels of those that have not begun yet.

    A cancel travels on its own channel and may overtake its event; numbers are never used twice, so
    one that comes too late does no harm. Cancels come from the side thread: each step here is one
    operation of a dict or set, which the interpreter does not interrupt.
    """

    __slots__ = ("cancelled", "running")

    def __init__(self) -> None:
        self.running: dict[int, Attempt] = {}
        self.cancelled: set[int] = set()

    def cancel(self, no: int) -> None:
        """Mark attempt *no* as cancelled, whether it runs already or not."""
        attempt = self.running.get(no)
        if attempt is not None:
            attempt.is_cancelled = True
            return
        if len(self.cancelled) >= _MAX_REMEMBERED:
            self.cancelled.pop()
        self.cancelled.add(no)

    def take_cancel(self, no: int) -> bool:
        """Tell, once, whether *no* was cancelled before it began."""
        if no not in self.cancelled:
            return False
        self.cancelled.discard(no)
        return True
