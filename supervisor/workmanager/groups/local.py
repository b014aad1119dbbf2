"""A group's lock on one host: who may run, in which order, with which fencing token.

A *turn* belongs to an executor: while it holds one, tasks that run one after another in that
executor are one attempt at a time. Waiters are served first come, first served; a holder gives way
after a short share when others wait. With a key, the lock is per key and a turn is one task.

Tokens grow with every turn. They are reserved in the store in blocks, ahead of their use, so that
a restart never hands out a token again.

Where the group reaches across hosts, a turn needs a lease beside its place in the queue, and its
token is the lease's: see `leases.Leases`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from workmanager.dispatch.task import Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor
    from workmanager.groups.lease import Lease
    from workmanager.groups.leases import Leases

TOKEN_BLOCK = 10_000  # tokens reserved by one write
SHARE_S = 0.05  # a holder's share while others wait; `maxHold` caps it


@dataclass(slots=True)
class Turn:
    """A lock held by an executor since *since* (seconds of trio's clock) under *token*."""

    executor: Executor
    worker: WorkerDispatch
    token: int
    since: float
    key: str | None = None
    lease: Lease | None = None


class HostLock:
    """The lock of one group on this host; used from the trio loop only.

    Args:
        reserve: Writes a new upper bound of tokens; calls back once it is durable.

    Attributes:
        leases: Where the right to a turn comes from across hosts; None on one host.
        turn_count: Turns so far; what they waited and lasted in all stands beside.
    """

    def __init__(
        self, name: str, first_token: int, reserve: Callable[[int, Callable[[], None]], None]
    ) -> None:
        self.name = name
        self.limit = 1
        self.max_hold_s = 5.0
        self.token = first_token
        self.turns: dict[Executor, Turn] = {}
        self.key_turns: dict[int, Turn] = {}  # by task number
        self.waiting: deque[WorkerDispatch] = deque()
        self.members: list[WorkerDispatch] = []
        self._held: dict[str, int] = {}
        self._parked: dict[str, deque[tuple[WorkerDispatch, Task]]] = {}
        self.leases: Leases | None = None
        self.turn_count = 0
        self.wait_s = self.held_s = 0.0
        self._since: dict[WorkerDispatch, float] = {}  # when those that wait began to
        self._reserve = reserve
        self._ceiling = first_token
        self._reserving = False

    def prepare(self) -> None:
        """Reserve the first tokens, where they are this host's own."""
        self._top_up()

    # -- without a key -----------------------------------------------------------------------

    def enter(self, executor: Executor, worker: WorkerDispatch, now: float) -> int | None:
        """Give *executor* a turn, or let it go on with the one it has; None if it must wait."""
        turn = self.turns.get(executor)
        if turn is not None:
            return turn.token if self._may_go_on(turn, now) else None
        if len(self.turns) >= self.limit or not self._is_next(worker):
            self.wait(worker)
            return None
        granted = self._grant("", worker)
        if granted is None:
            self.wait(worker)
            return None
        token, lease = granted
        self.wait_s += now - self._since.get(worker, now)
        self.stop_waiting(worker)
        self.turns[executor] = Turn(executor, worker, token, now, lease=lease)
        return token

    def leave(self, executor: Executor) -> list[WorkerDispatch]:
        """End the executor's turn; returns the workers to look at, in the order they waited."""
        turn = self.turns.pop(executor, None)
        if turn is None:
            return []
        self._end(turn)
        return list(self.waiting)

    def wait(self, worker: WorkerDispatch) -> None:
        """Queue *worker* for the next free turn."""
        if worker not in self.waiting:
            self.waiting.append(worker)
            self._since[worker] = trio.current_time()

    def stop_waiting(self, worker: WorkerDispatch) -> None:
        """Take *worker* out of the queue: it has nothing to run."""
        if worker in self.waiting:
            self.waiting.remove(worker)
            del self._since[worker]

    # -- with a key --------------------------------------------------------------------------

    def enter_key(
        self, executor: Executor, worker: WorkerDispatch, task: Task, key: str, now: float
    ) -> int | None:
        """Give *task* a turn of *key*; None if it was parked behind others of that key."""
        held = self._held.get(key, 0)
        granted = self._grant(key, worker) if held < self.limit else None
        if granted is None:
            self._parked.setdefault(key, deque()).append((worker, task))
            return None
        token, lease = granted
        self._held[key] = held + 1
        self.key_turns[task.number] = Turn(executor, worker, token, now, key, lease)
        return token

    def leave_key(self, task: Task) -> list[tuple[WorkerDispatch, Task]]:
        """End the task's turn; returns the parked tasks that may try again, oldest first."""
        turn = self.key_turns.pop(task.number, None)
        if turn is None or turn.key is None:
            return []
        self._end(turn)
        held = self._held[turn.key] - 1
        if held:
            self._held[turn.key] = held
        else:
            del self._held[turn.key]
        return self.unpark(turn.key)

    def unpark(self, key: str) -> list[tuple[WorkerDispatch, Task]]:
        """Return the first task that is parked behind *key*, if any; it may try again."""
        queue = self._parked.get(key)
        if not queue:
            return []
        freed = [queue.popleft()]
        if not queue:
            del self._parked[key]
        return freed

    def unpark_worker(self, worker: WorkerDispatch) -> list[Task]:
        """Take back every parked task of *worker* (it stops or leaves the group)."""
        back = []
        for key, queue in list(self._parked.items()):
            back += [task for owner, task in queue if owner is worker]
            rest = deque((owner, task) for owner, task in queue if owner is not worker)
            if rest:
                self._parked[key] = rest
            else:
                del self._parked[key]
        return back

    def parked(self, worker: WorkerDispatch) -> int:
        """How many tasks of *worker* wait for a key."""
        return sum(owner is worker for queue in self._parked.values() for owner, _ in queue)

    # -- across hosts ------------------------------------------------------------------------

    def all_turns(self) -> list[Turn]:
        """Return the turns of executors and of keys."""
        return [*self.turns.values(), *self.key_turns.values()]

    def has_turn_of(self, worker: WorkerDispatch) -> bool:
        """Tell whether an executor of *worker* has a turn."""
        return any(turn.worker is worker for turn in self.all_turns())

    def lease_of(self, executor: Executor, task: Task) -> Lease | None:
        """Return the lease under which *executor* has *task* in hand; None on one host."""
        turn = self.key_turns.get(task.number) or self.turns.get(executor)
        return turn.lease if turn is not None else None

    def wants(self, key: str) -> bool:
        """Tell whether somebody waits for a turn of *key* (empty: of the group)."""
        return key in self._parked or (not key and bool(self.waiting))

    # -- inside ------------------------------------------------------------------------------

    def _grant(self, key: str, worker: WorkerDispatch) -> tuple[int, Lease | None] | None:
        """Return the token of a new turn, with its lease; None if it must wait for either."""
        if self.leases is None:
            token = self._next_token()
            return None if token is None else (token, None)
        lease = self.leases.take(key, worker.run_s)
        return None if lease is None else (self.leases.next_token(lease), lease)

    def _end(self, turn: Turn) -> None:
        self.turn_count += 1
        self.held_s += trio.current_time() - turn.since
        if turn.lease is not None and self.leases is not None:
            self.leases.give_back(turn.lease)

    def _may_go_on(self, turn: Turn, now: float) -> bool:
        if self.leases is not None and (
            turn.lease is None or not self.leases.may_start(turn.lease, turn.worker.run_s)
        ):
            return False
        others = any(worker is not turn.worker for worker in self.waiting)
        return not others or now - turn.since < min(SHARE_S, self.max_hold_s)

    def _is_next(self, worker: WorkerDispatch) -> bool:
        free = self.limit - len(self.turns)
        ahead = 0
        for other in self.waiting:
            if other is worker:
                return ahead < free
            ahead += 1
        return ahead < free

    def _next_token(self) -> int | None:
        """Take the next token; None until the next block of them is durable."""
        if self.token >= self._ceiling:
            return None
        self.token += 1
        self._top_up()
        return self.token

    def _top_up(self) -> None:
        if self._reserving or self._ceiling - self.token > TOKEN_BLOCK // 2:
            return
        self._reserving = True
        ceiling = self._ceiling + TOKEN_BLOCK

        def durable() -> None:
            self._ceiling = ceiling
            self._reserving = False
            for worker in list(self.waiting):
                worker.wake()

        self._reserve(ceiling, durable)
