"""One worker as dispatch sees it: its inbox, its executors, its policies, its counters."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Protocol

from workmanager.dispatch.inbox import Inbox
from workmanager.model.states import ExecutorState
from workmanager.policy.admission import Admission
from workmanager.policy.dedupe import Dedupe
from workmanager.policy.keys import key_of_attributes
from workmanager.policy.ratelimit import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from workmanager.dispatch.outputs import Maker
    from workmanager.dispatch.task import Task
    from workmanager.dispatch.timers import Timer
    from workmanager.executors.executor import Executor
    from workmanager.groups.local import HostLock
    from workmanager.model.spec import WorkerSpec

DURATION_BITS = 54  # an executor can say 52 at most
STRICT_KEY = ""  # the one key of a worker with strict order


class Producer(Protocol):
    """What fills inboxes and waits while one is full: a worker, or a subscription of a broker."""

    blocked_by: set[WorkerDispatch]

    @property
    def wake(self) -> Callable[[], object]:
        """Called when there is room again."""


class WorkerDispatch:
    """The hot-path state of a worker.

    Attributes:
        is_open: Whether tasks may be handed out (RUNNING, not PAUSED or stopped).
        executors: Executors that get tasks; those that drain are not among them.
        suspects: Tasks of which one is to blame for a death or a failed batch; each list runs by
            itself, and is parted again, until it is known which.
        sides: Inboxes of tasks that asked for a version other than the current one.
        blocked_by: Workers with a full inbox that this one feeds; it waits for them.
        on_demand: Called when a side version needs an executor.
    """

    def __init__(self, no: int, uid: str, name: str, spec: WorkerSpec) -> None:
        self.no = no
        self.uid = uid
        self.name = name
        self.version = ""
        self.is_open = False
        self.executors: list[Executor] = []
        self.suspects: deque[list[Task]] = deque()
        self.sides: dict[str, Inbox] = {}
        self.blocked_by: set[WorkerDispatch] = set()
        self.blocks: set[Producer] = set()
        self.lock: HostLock | None = None
        self.former_locks: list[HostLock] = []  # of groups it left while it held a turn
        self.counts: Counter[str] = Counter()
        self.busy_us = 0  # in handlers, whatever became of it
        self.durations = [0] * DURATION_BITS  # attempts by the bits of their us
        self.last_duration_us = 0
        self.last_wait_s = 0.0
        self.last_output_bytes = 0
        self.dead_letters = 0  # that are kept now
        self.pending = 0  # deliveries accepted but not durable yet
        self.pending_bytes = 0
        self.assigned = 0  # routed to it by a call that has not accepted them yet
        self.last_event_at = 0.0
        self.last_error = ""
        self.timer: Timer | None = None  # next delayed task, rate token or batch window
        self.timer_at = 0.0
        self.hold_until = 0.0  # a swap lets the old version finish first
        self.wake: Callable[[], None] = _nothing
        self.on_demand: Callable[[str], None] = _nothing_for
        self.inbox = Inbox()
        self.spec = spec
        self.dedupe: Dedupe | None = None
        self.bucket: TokenBucket | None = None
        self.admission = Admission(spec.inbox.max_count, spec.inbox.max_bytes)
        self.maker: Maker | None = None  # of output events; made at the first one
        self.configure(spec)

    def configure(self, spec: WorkerSpec) -> None:
        """Take on a specification; what waits is ordered anew, what was seen stays known."""
        self.spec = spec
        self.maker = None
        self.inbox.rekey(_ordering(spec))
        rate = spec.rate_limit
        self.bucket = (
            TokenBucket(rate.limit, rate.per_s, rate.burst or rate.limit) if rate.limit else None
        )
        if not spec.dedupe.window_s:
            self.dedupe = None
        elif self.dedupe is None:
            self.dedupe = Dedupe(spec.dedupe.window_s, spec.dedupe.max_entries)
        else:
            self.dedupe.reconfigure(spec.dedupe.window_s, spec.dedupe.max_entries)
        self.admission = Admission(spec.inbox.max_count, spec.inbox.max_bytes)
        self.group_key = spec.group.key if spec.group else ""

    @property
    def backlog(self) -> int:
        """Open tasks, durable or about to be."""
        waiting = self.inbox.count + self.pending
        return waiting + sum(s.count for s in self.sides.values()) if self.sides else waiting

    @property
    def backlog_bytes(self) -> int:
        """What the open tasks weigh."""
        return self.inbox.size_bytes + self.pending_bytes

    @property
    def run_s(self) -> float:
        """How long an attempt may take until it is over, killed if need be."""
        return self.spec.timeouts.start_to_close_s + self.spec.drain.kill_after_s

    @property
    def in_flight(self) -> int:
        """Tasks in the hands of executors."""
        return sum(len(executor.hand) for executor in self.executors)

    def is_full(self) -> bool:
        """Whether the inbox is at its limit (and not yet back at its low watermark)."""
        return not self.admission.update(self.backlog, self.backlog_bytes)

    def ready_executors(self) -> list[Executor]:
        """Executors that can take tasks, the least busy first."""
        ready = [e for e in self.executors if e.state is ExecutorState.READY]
        if len(ready) > 1:
            ready.sort(key=lambda e: len(e.hand))
        return ready

    def acquit(self, task: Task) -> bool:
        """Take *task* off the suspects; False if it is none."""
        for tasks in self.suspects:
            if task in tasks:
                tasks.remove(task)
                if not tasks:
                    self.suspects.remove(tasks)
                return True
        return False

    def side(self, version: str) -> Inbox:
        """Return the inbox of tasks that asked for *version*."""
        if version not in self.sides:
            self.sides[version] = Inbox()
        return self.sides[version]

    def inbox_of(self, task: Task) -> Inbox:
        """Return the inbox that *task* lives in."""
        if task.asked_version and task.asked_version in self.sides:
            return self.sides[task.asked_version]
        return self.inbox


def _ordering(spec: WorkerSpec) -> Callable[[Task], str | None] | None:
    if spec.ordering.mode == "strict":
        return lambda _: STRICT_KEY
    expression = spec.ordering.key_expression
    if not expression:
        return None
    read = key_of_attributes(expression)
    return lambda task: read(task.event.attributes)


def _nothing() -> None:
    return None


def _nothing_for(_: str) -> None:
    return None
