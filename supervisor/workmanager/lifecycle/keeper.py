"""One worker's keeper: makes what is observed agree with what is desired, for as long as it lives.

Verbs of the API only change what is desired and wake the keeper; its task does everything else, one
step at a time, so that starts, stops, swaps and restarts of one worker never run into each other.
The executors live in the keeper's nursery: when the keeper ends, they have ended.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog
import trio

from workmanager.dispatch import losses, outcomes
from workmanager.dispatch.handout import pump
from workmanager.errors import ConflictError, WorkManagerError
from workmanager.lifecycle import endings
from workmanager.lifecycle.sides import Sides
from workmanager.lifecycle.stopping import kill, retire
from workmanager.lifecycle.trial import Trial
from workmanager.model.states import (
    DesiredState,
    WorkerState,
    can_move,
)
from workmanager.policy.restart import RestartState

if TYPE_CHECKING:
    from collections.abc import Callable

    from workmanager.dispatch.core import Core
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.launch import Launcher
    from workmanager.lifecycle.record import WorkerRecord

NO_BUDGET = "; the restart budget of this host is used up"
_SERVING = (WorkerState.RUNNING, WorkerState.PAUSED)

log = structlog.get_logger()


class Keeper:
    """Keeps one worker.

    Attributes:
        state: What is observed.
        why: The reason of a BACKOFF or FAILED state, for people.
        executors: Every executor that is alive, by id: serving, starting, or on its way out.
        changed: Set and replaced at every change of state; wait on it to follow the worker.
    """

    def __init__(
        self, core: Core, record: WorkerRecord, dispatch: WorkerDispatch, launcher: Launcher
    ) -> None:
        self.core = core
        self.record = record
        self.dispatch = dispatch
        self.launcher = launcher
        self.state = WorkerState.PENDING
        self.since = time.time()
        self.why = ""
        self.executors: dict[str, Executor] = {}
        self.changed = trio.Event()
        self.restarts = 0
        self.restart = RestartState()
        self.retry_at: float | None = None  # trio's clock; end of a BACKOFF
        self.is_declared = False  # its rows are durable; until then nothing starts by itself
        self.is_ended = trio.Event()
        self._wake = trio.Event()
        self.step = trio.Lock()  # one change at a time
        self._launching: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._recycling: set[str] = set()
        dispatch.wake = lambda: pump(core, dispatch)
        self.trial = Trial(self)
        self.is_restarting = False  # the next start follows an end, and counts against the budget
        self.sides = Sides(self)
        dispatch.on_demand = self.sides.want
        dispatch.version = record.current

    # -- what it is asked --------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the worker until it is deleted or the service stops."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                while self.state is not WorkerState.DELETING:
                    wake = self._wake
                    async with self.step:
                        await self._reconcile_safely()
                    await wake.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.is_ended.set()

    def wake(self) -> None:
        """Look again at what is desired."""
        self._wake.set()
        self._wake = trio.Event()

    def ask(self, desired: DesiredState) -> None:
        """Take on a new desired state (already durable); clears a FAILED state."""
        self.record.desired = desired
        if desired is DesiredState.STOPPED:
            self._call_off()
        if self.state is WorkerState.FAILED:
            self.restart = RestartState()
            self._move(WorkerState.STOPPED, "asked to start again")
        self.trial.clear()
        self.retry_at, self.is_restarting = None, False
        self.dispatch.is_open = desired is DesiredState.RUNNING and bool(self.dispatch.executors)
        self.wake()

    async def until(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until *predicate* holds, looking at every change of state; False at the time-out."""
        with trio.move_on_after(timeout_s):
            while not predicate():
                await self.changed.wait()
        return predicate()

    async def verify(self, version: str) -> None:
        """Find out whether *version* can run, by starting one executor of it.

        Raises:
            CodeError: It refused the code.
            StartError: It died or was not ready in time.
        """
        async with self.step:
            if self.record.desired is not DesiredState.STOPPED:
                self._move(WorkerState.STARTING, "")
            executor = await self.launch(version)
            self.dispatch.version = version
            if self.record.desired is DesiredState.STOPPED:
                self.retire(executor)
            else:
                self.serve([executor])
        self.wake()

    async def try_out(self, version: str) -> None:
        """Start one executor of *version* and end it again.

        Raises:
            CodeError, StartError: It cannot run.
        """
        async with self.step:
            self.retire(await self.launch(version))

    def recycle(self, executor: Executor, why: str) -> None:
        """Have one serving executor replaced by a fresh one; asked twice it happens once."""
        assert self._nursery is not None  # noqa: S101 - see `launch`
        if executor.id not in self._recycling:
            self._recycling.add(executor.id)
            self._nursery.start_soon(self._replace_one, executor, why)

    async def _replace_one(self, executor: Executor, why: str) -> None:
        async with self.step:
            if executor not in self.dispatch.executors:
                return
            try:
                fresh = await self.launch(executor.version)
            except Exception as error:  # noqa: BLE001 - whatever it is, the old one goes on
                log.warning("recycle_failed", worker=self.record.name, error=str(error))
                return
            finally:
                self._recycling.discard(executor.id)
            if executor in self.dispatch.executors:
                self.dispatch.executors.remove(executor)
            self.serve([fresh])
            log.info("executor_recycled", worker=self.record.name, executor=executor.id, why=why)
            self.retire(executor)
        pump(self.core, self.dispatch)
        self.core.ledger.flush()

    async def delete(self, *, drain: bool) -> None:
        """End every executor; the state is DELETING from the first instant."""
        self._call_off()
        self.dispatch.is_open = False
        self._move(WorkerState.DELETING, "")
        async with self.step:
            await self._end_all(grace=drain)
        self.wake()

    async def stop_for_shutdown(self) -> None:
        """Drain every executor because the service stops; what is desired stays as it is."""
        self._call_off()
        self.dispatch.is_open = False
        async with self.step:
            await self._end_all(grace=True)

    # -- one step ----------------------------------------------------------------------------

    async def _reconcile_safely(self) -> None:
        """Take one step; a fault of ours counts as a failed start of this worker alone."""
        try:
            await self._reconcile()
        except Exception as error:  # the border of a worker
            log.exception("keeper_failed", worker=self.record.name)
            endings.note_failed_start(self, WorkManagerError(f"{type(error).__name__}: {error}"))

    async def _reconcile(self) -> None:
        if not self.is_declared or self.core.is_stopping:
            return
        if self.state is WorkerState.DELETING:
            return
        if self.state is WorkerState.FAILED and not self.trial.begin():
            return
        if self.record.desired is DesiredState.STOPPED:
            await self._to_stopped()
        elif self.retry_at is not None and trio.current_time() < self.retry_at:
            if not self.dispatch.executors:
                self._move(WorkerState.BACKOFF, self.why)
        else:
            await self._to_serving()

    async def _to_stopped(self) -> None:
        self.dispatch.is_open = False
        if can_move(self.state, WorkerState.DRAINING):  # else it never served
            self._move(WorkerState.DRAINING, "")
        await self._end_all(grace=True)
        self._move(WorkerState.STOPPED, "")

    async def _to_serving(self) -> None:
        self.retry_at = None
        wanted = 1 if self.trial.is_on else self.record.spec.concurrency.executors
        if not self._may_start(wanted):
            return
        if self.state not in _SERVING:
            self._move(WorkerState.STARTING, "")
        while len(self.current()) < wanted:
            if not self.current():
                self._move(WorkerState.STARTING, "")
            try:
                executor = await self.launch(self.record.current)
            except WorkManagerError as error:
                endings.note_failed_start(self, error)
                return
            if self.state is WorkerState.FAILED:  # given up meanwhile: another one has died
                self.retire(executor)
                return
            self.serve([executor])
            if self.trial.is_on:
                self.trial.watch(executor)
        for surplus in self.current()[wanted:]:
            self.dispatch.executors.remove(surplus)
            self.retire(surplus)
        await self.sides.serve()
        self._open()

    def _may_start(self, wanted: int) -> bool:
        """Take a restart from the host's budget; False if there is none for now."""
        if not self.is_restarting or len(self.current()) >= wanted:
            return True
        wait_s = self.launcher.budget.take(trio.current_time(), is_first=self.restart.failures <= 1)
        if wait_s > 0:
            self.back_off(wait_s, f"{self.why.removesuffix(NO_BUDGET)}{NO_BUDGET}")
            return False
        self.is_restarting = False
        return True

    def _open(self) -> None:
        if self.state is WorkerState.DELETING:  # asked for meanwhile
            return
        running = self.record.desired is DesiredState.RUNNING
        self._move(WorkerState.RUNNING if running else WorkerState.PAUSED, "")
        self.dispatch.is_open = running
        pump(self.core, self.dispatch)
        self.core.ledger.flush()

    # -- executors ---------------------------------------------------------------------------

    async def launch(self, version: str) -> Executor:
        """Start one executor; can be called off by a stop.

        Raises:
            CodeError, StartError, ConflictError: It does not run; ConflictError if called off.
        """
        if self.state is WorkerState.DELETING:
            raise ConflictError(f"worker {self.record.name!r} is being deleted")
        assert self._nursery is not None  # noqa: S101 - set by `run` before anything is asked
        scope = self._launching = trio.CancelScope()
        try:
            with scope:
                return await self.launcher.start(self.record, version, self, self._nursery)
        finally:
            self._launching = None
        raise ConflictError(f"worker {self.record.name!r} was stopped while it started")

    def serve(self, fresh: list[Executor]) -> None:
        """Let *fresh* take tasks."""
        self.dispatch.counts["starts"] += len(fresh)
        for executor in fresh:
            if executor.exit is not None:
                self.wake()  # it has died since it was ready: the next step starts another one
                continue
            self.executors[executor.id] = executor
            self.dispatch.executors.append(executor)
        self._notify()

    def current(self) -> list[Executor]:
        """Return the executors that serve the current version."""
        version = self.dispatch.version
        return [e for e in self.dispatch.executors if e.version == version]

    def retire(self, executor: Executor) -> None:
        """Drain an executor that serves no more, in the background."""
        assert self._nursery is not None  # noqa: S101 - see `launch`
        self.executors[executor.id] = executor
        self._nursery.start_soon(retire, executor, self.record.spec.drain)

    async def _end_all(self, *, grace: bool) -> None:
        """End every executor: drained within the grace period, or at once."""
        serving, self.dispatch.executors = self.dispatch.executors, []
        del serving
        async with trio.open_nursery() as nursery:
            for executor in list(self.executors.values()):
                if grace:
                    nursery.start_soon(retire, executor, self.record.spec.drain)
                else:
                    nursery.start_soon(kill, executor, "the worker is stopped at once")

    def _call_off(self) -> None:
        if self._launching is not None:
            self._launching.cancel()

    # -- what executors tell -----------------------------------------------------------------

    def executor_done(self, executor: Executor, batch: list[list[Any]]) -> None:
        """Settle a batch of outcomes."""
        outcomes.take_outcomes(self.core, self.dispatch, executor, batch)
        if self.dispatch.hold_until and not self._old_hands():
            self.dispatch.hold_until = 0.0
            pump(self.core, self.dispatch)
        most = self.record.spec.recycle.max_tasks
        if most and executor.tasks_total >= most:
            self.recycle(executor, "recycle.maxTasks")

    def executor_line(
        self, executor: Executor, stream: str, level: str, task: int | None, text: str
    ) -> None:
        """Keep a line that user code wrote."""
        task_id = f"{task:x}" if task is not None else ""
        self.core.note(self.dispatch, executor, stream, level, task_id, text)

    def executor_exited(self, executor: Executor) -> None:
        """Send back what it had in hand; decide whether and when another one starts."""
        served = executor in self.dispatch.executors
        losses.take_exit(self.core, self.dispatch, executor)
        self.executors.pop(executor.id, None)
        how = executor.exit.words if executor.exit else "gone"
        log.info("executor_exited", worker=self.record.name, executor=executor.id, how=how)
        if served and executor.is_to_blame:
            self.core.note(self.dispatch, executor, "supervisor", "ERROR", "", f"executor {how}")
        if served and executor.version == self.record.current:
            endings.note_exit(self, executor, how)
        side = self.dispatch.sides.get(executor.version)
        if side is not None and side.count:
            self.sides.want(executor.version)
        self.wake()

    def back_off(self, delay_s: float, why: str) -> None:
        """Start the next executor in *delay_s* seconds."""
        self.retry_at, self.is_restarting = trio.current_time() + delay_s, True
        self.core.timers.after(delay_s, self.wake)
        if not self.dispatch.executors:
            self._move(WorkerState.BACKOFF, why)
        self.why = why

    def give_up(self, why: str) -> None:
        """Start no more executors until somebody asks for it."""
        self.dispatch.is_open = False
        self._move(WorkerState.FAILED, why)
        for executor in list(self.dispatch.executors):
            self.dispatch.executors.remove(executor)
            self.retire(executor)

    def _old_hands(self) -> bool:
        current = self.dispatch.version
        return any(e.hand for e in self.executors.values() if e.version != current)

    # -- state -------------------------------------------------------------------------------

    def _move(self, state: WorkerState, why: str) -> None:
        if self.state is WorkerState.DELETING:
            return  # what was under way when it was asked for changes nothing any more
        if state is self.state:
            self.why = why or self.why
            return
        if not can_move(self.state, state):
            log.error("state_not_allowed", worker=self.record.name, old=self.state, new=state)
        log.info("worker_state", worker=self.record.name, old=self.state.value, new=state.value)
        self.state, self.since, self.why = state, time.time(), why
        self._notify()

    def _notify(self) -> None:
        changed, self.changed = self.changed, trio.Event()
        changed.set()
        if self.core.watch is not None:
            self.core.watch.worker_changed(self.record.uid)
