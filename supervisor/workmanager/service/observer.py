"""Turns what dispatch and keepers tell into changes, a round at a time.

Between two rounds a note is one entry of a dict: many changes of one task, worker or executor
become one, with the latest state. Views are built in the round, outside the hot path, with
checkpoints between them. Nothing is noted unless somebody watches, or did a minute ago.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.model.resources import Executor as ExecutorView
from workmanager.model.states import ExecutorState
from workmanager.service import sidecars, views
from workmanager.service.task_notes import TaskNotes
from workmanager.telemetry.changes import ADDED, DELETED, MODIFIED, Kind
from workmanager.telemetry.processes import GONE
from workmanager.telemetry.watch import Feed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from workmanager.dispatch.task import Task
    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.store.rows import DeadLetterRow
    from workmanager.supervisor import Supervisor
    from workmanager.telemetry.changes import Change

LINGER_S = 60.0  # changes are kept so long for a watcher who comes back
TICK_S = 1.0  # counters of a worker are told at most so often
STEP = 50  # views built between two checkpoints

log = structlog.get_logger()


class Observer:
    """Feeds watchers; hooked into dispatch only while it is needed."""

    def __init__(self, supervisor: Supervisor, nursery: trio.Nursery) -> None:
        self.feed = Feed()
        self._sup = supervisor
        self._nursery = nursery
        self._recorded: set[Kind] = set()
        self._scope: trio.CancelScope | None = None  # of the rounds; None while nothing is recorded
        self._news = trio.Event()
        self._workers: dict[str, None] = {}  # uids, in the order of their first change
        self._gone: list[Keeper] = []
        self._told: dict[str, tuple[object, ...]] = {}  # by uid, what was told last
        self._executors: dict[str, dict[str, ExecutorView]] = {}  # by uid and id
        self._tasks = TaskNotes()
        self._dead_letters: list[tuple[str, DeadLetterRow]] = []

    # -- who needs it ------------------------------------------------------------------------

    def record(self, kinds: Collection[Kind]) -> None:
        """Begin to note changes of *kinds*, unless that is so already."""
        for kind in kinds:
            self.feed.record(kind)
        if Kind.EXECUTORS in kinds and Kind.EXECUTORS not in self._recorded:
            self._executors = {uid: _executors(k) for uid, k in self._sup.keepers.items()}
        self._recorded |= set(kinds)
        if self._scope is None:
            self._told = {k.record.uid: _facts(k) for k in self._declared()}
            self._scope = trio.CancelScope()
            self._sup.core.watch = self._sup.core.ledger.watch = self
            self._nursery.start_soon(self._run, self._scope)

    def rest_later(self) -> None:
        """Stop noting what nobody watches any more, after a while."""
        self._sup.core.timers.after(LINGER_S, self._rest)

    def _rest(self) -> None:
        for kind in [kind for kind in self._recorded if not self.feed.watches(kind)]:
            self._recorded.discard(kind)
            self.feed.forget(kind)
        if not self._recorded and self._scope is not None:
            self._sup.core.watch = self._sup.core.ledger.watch = None
            self._scope.cancel()
            self._scope = None
            for pending in (self._workers, self._gone, self._tasks, self._dead_letters):
                pending.clear()

    # -- what it is told (dispatch.watching.Observer) ------------------------------------------

    def worker_changed(self, uid: str) -> None:
        """Note a worker whose declaration, state or executors changed."""
        self._workers[uid] = None
        self._news.set()

    def worker_gone(self, uid: str) -> None:
        """Note a worker that is about to be forgotten."""
        self._gone.append(self._sup.keepers[uid])
        self._workers.pop(uid, None)
        self._news.set()

    def accepted(self, tasks: Sequence[Task]) -> None:
        """Note tasks that are durable now."""
        if Kind.TASKS in self._recorded:
            self._tasks.accepted(tasks)
            self._news.set()

    def handed_out(self, executor: Executor, tasks: Sequence[Task]) -> None:
        """Note tasks that an executor was given."""
        if Kind.TASKS in self._recorded:
            self._tasks.moved(tasks, executor)
            self._news.set()

    def delayed(self, task: Task) -> None:
        """Note a task that waits for its next attempt."""
        if Kind.TASKS in self._recorded:
            self._tasks.moved((task,), None)
            self._news.set()

    def settled(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Note tasks whose end is durable now."""
        if Kind.TASKS in self._recorded and rows:
            self._tasks.settled(rows)
            self._news.set()

    def dead_letter_kept(self, row: DeadLetterRow) -> None:
        """Note a dead letter, once it is durable."""
        if Kind.DEAD_LETTERS in self._recorded:
            self._sup.core.ledger.after_commit(lambda: self._dead_letter(ADDED, row))

    def dead_letters_gone(self, rows: Sequence[DeadLetterRow]) -> None:
        """Note dead letters that were redriven or purged."""
        if Kind.DEAD_LETTERS in self._recorded:
            for row in rows:
                self._dead_letter(DELETED, row)

    def _dead_letter(self, type_: str, row: DeadLetterRow) -> None:
        self._dead_letters.append((type_, row))
        self._news.set()

    # -- rounds --------------------------------------------------------------------------------

    async def _run(self, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick)
                while True:
                    await self._news.wait()
                    self._news = trio.Event()
                    await self._round()
                    await trio.sleep(self.feed.pace_s)

    async def _tick(self) -> None:
        """Note the workers whose counters have moved, once a second."""
        while True:
            await trio.sleep(TICK_S)
            for keeper in self._declared():
                if self._told.get(keeper.record.uid) != _facts(keeper):
                    self.worker_changed(keeper.record.uid)

    async def _round(self) -> None:
        try:
            await self._tell_workers()
            await self._tell_tasks()
            await self._tell_dead_letters()
        except Exception:  # a bug here must not end the service
            log.exception("watch_round_failed")
            for kind in self._recorded:
                self.feed.drop(kind, "the service failed to tell a change")

    async def _tell_workers(self) -> None:
        uids, self._workers = list(self._workers), {}
        gone, self._gone = self._gone, []
        for start in range(0, len(uids), STEP):
            workers: list[Change] = []
            executors: list[Change] = []
            for uid in uids[start : start + STEP]:
                keeper = self._sup.keepers.get(uid)
                if keeper is not None and keeper.is_declared:
                    workers += self._of_worker(keeper)
                    executors += self._of_executors(keeper, keeper.executors)
            self.feed.publish(Kind.WORKERS, workers)
            self.feed.publish(Kind.EXECUTORS, executors)
            await trio.lowlevel.checkpoint()
        for keeper in gone:
            self._tell_gone(keeper)

    def _of_worker(self, keeper: Keeper) -> Iterator[Change]:
        uid, name = keeper.record.uid, keeper.record.name
        type_ = MODIFIED if uid in self._told else ADDED
        self._told[uid] = _facts(keeper)
        if Kind.WORKERS in self._recorded:
            yield self.feed.change(type_, Kind.WORKERS, name, views.worker(keeper))

    def _tell_gone(self, keeper: Keeper) -> None:
        uid, name = keeper.record.uid, keeper.record.name
        self.feed.publish(Kind.EXECUTORS, list(self._of_executors(keeper, {})))
        self._executors.pop(uid, None)
        if self._told.pop(uid, None) is not None and Kind.WORKERS in self._recorded:
            gone = self.feed.change(DELETED, Kind.WORKERS, name, views.worker(keeper))
            self.feed.publish(Kind.WORKERS, [gone])

    def _of_executors(self, keeper: Keeper, there: Mapping[str, Executor]) -> Iterator[Change]:
        """Tell what has changed; only then the kernel is asked what an executor uses."""
        if Kind.EXECUTORS not in self._recorded:
            return
        uid, name = keeper.record.uid, keeper.record.name
        before, now = self._executors.get(uid, {}), dict[str, ExecutorView]()
        for id_, live in there.items():
            known = before.get(id_)
            if known is not None and known.state is live.state:
                now[id_] = known
                continue
            now[id_] = views.executor(live)
            type_ = ADDED if known is None else MODIFIED
            yield self.feed.change(type_, Kind.EXECUTORS, name, now[id_])
        for id_, view in before.items():
            if id_ not in now:
                ended = view.model_copy(update={"state": ExecutorState.EXITED, "in_flight": 0})
                yield self.feed.change(DELETED, Kind.EXECUTORS, name, ended)
        self._executors[uid] = now

    async def _tell_tasks(self) -> None:
        if self._tasks.is_overrun():
            self._tasks.clear()
            self.feed.drop(Kind.TASKS, "more tasks changed at once than can be told")
            log.warning("task_watch_overrun")
        by_number = {keeper.record.no: keeper for keeper in self._sup.keepers.values()}
        changes: list[Change] = []
        for told in self._tasks.take(by_number):
            changes.append(self.feed.change(told.type, Kind.TASKS, told.worker, told.view))
            if len(changes) % STEP == 0:
                await trio.lowlevel.checkpoint()
        self.feed.publish(Kind.TASKS, changes)
        if self._tasks:
            self._news.set()

    async def _tell_dead_letters(self) -> None:
        rows, self._dead_letters = self._dead_letters, []
        for type_, row in rows:
            worker = self._sup.core.workers.get(row.worker_no)
            name = worker.name if worker is not None else ""
            view = views.dead_letter_outline(name, row)
            told = self.feed.change(type_, Kind.DEAD_LETTERS, name, view)
            self.feed.publish(Kind.DEAD_LETTERS, [told])
            await trio.lowlevel.checkpoint()

    def _declared(self) -> list[Keeper]:
        return [keeper for keeper in self._sup.keepers.values() if keeper.is_declared]


def _executors(keeper: Keeper) -> dict[str, ExecutorView]:
    return {live.id: views.executor(live, GONE) for live in keeper.executors.values()}


def _facts(keeper: Keeper) -> tuple[object, ...]:
    """Return what a worker's view shows and may change, as cheaply as can be compared."""
    dispatch = keeper.dispatch
    executors = tuple((e.id, e.state) for e in keeper.executors.values())
    in_flight = sum(len(e.hand) for e in keeper.executors.values())
    counts = (dispatch.backlog, in_flight, keeper.restarts, *dispatch.counts.values())
    silent = sidecars.why_silent(keeper)
    return (keeper.state, keeper.why, keeper.record.generation, silent, executors, counts)
