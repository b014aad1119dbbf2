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
from workmanager.errors import CodeError, ConflictError, WorkManagerError
from workmanager.lifecycle.stopping import retire
from workmanager.model.states import (
    DesiredState,
    WorkerState,
    can_move,
)
from workmanager.policy.restart import Action, End, RestartState, after_end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from workmanager.dispatch.core import Core
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.launch import Launcher
    from workmanager.lifecycle.record import WorkerRecord

REFUSED_STARTS = 3
SWAP_HOLD_S = 0.25  # how long a new version waits for the old one's attempts, without ordering
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
        self._step = trio.Lock()
        self._launching: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._wanted_sides: set[str] = set()
        self._recycling: set[str] = set()
        dispatch.wake = lambda: pump(core, dispatch)
        dispatch.on_demand = self._want_side
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
                    async with self._step:
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
        self.retry_at = None
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
        async with self._step:
            if self.record.desired is not DesiredState.STOPPED:
                self._move(WorkerState.STARTING, "")
            executor = await self._launch(version)
            self.dispatch.version = version
            if self.record.desired is DesiredState.STOPPED:
                self.retire(executor)
            else:
                self._serve([executor])
        self.wake()

    async def try_out(self, version: str) -> None:
        """Start one executor of *version* and end it again.

        Raises:
            CodeError, StartError: It cannot run.
        """
        async with self._step:
            self.retire(await self._launch(version))

    async def swap(self, version: str, commit: Callable[[], Awaitable[None]]) -> None:
        """Replace the running version by *version*: start it beside, then flip at one instant.

        Args:
            commit: Makes the new version durable as the current one; called when it is ready. If
                it raises, the old version goes on and the new executors are ended.

        Raises:
            CodeError, StartError: The new version cannot run; nothing has changed.
        """
        async with self._step:
            wanted = 1
            if self.record.desired is not DesiredState.STOPPED:
                wanted = self.record.version_spec(version).concurrency.executors
            fresh = await self._launch_all(version, wanted)
            try:
                await commit()
            except BaseException:
                for executor in fresh:
                    executor.end("its version was not taken on")
                raise
            old = self._flip(version, fresh)
            if self.record.desired is DesiredState.STOPPED:
                old += fresh
            for executor in old:
                self.retire(executor)
        self.retry_at = None
        self.wake()

    async def replace(self, why: str) -> None:
        """Replace every serving executor by a fresh one of the same version (restart, recycle)."""
        async with self._step:
            serving = self._current()
            if not serving:
                return
            fresh = await self._launch_all(self.record.current, len(serving))
            for executor in self._flip(self.record.current, fresh):
                log.info(
                    "executor_replaced", worker=self.record.name, executor=executor.id, why=why
                )
                self.retire(executor)
        self.wake()

    def recycle(self, executor: Executor, why: str) -> None:
        """Have one serving executor replaced by a fresh one; asked twice it happens once."""
        assert self._nursery is not None  # noqa: S101 - see `_launch`
        if executor.id not in self._recycling:
            self._recycling.add(executor.id)
            self._nursery.start_soon(self._replace_one, executor, why)

    async def _replace_one(self, executor: Executor, why: str) -> None:
        async with self._step:
            if executor not in self.dispatch.executors:
                return
            try:
                fresh = await self._launch(executor.version)
            except Exception as error:  # noqa: BLE001 - whatever it is, the old one goes on
                log.warning("recycle_failed", worker=self.record.name, error=str(error))
                return
            finally:
                self._recycling.discard(executor.id)
            if executor in self.dispatch.executors:
                self.dispatch.executors.remove(executor)
            self._serve([fresh])
            log.info("executor_recycled", worker=self.record.name, executor=executor.id, why=why)
            self.retire(executor)
        pump(self.core, self.dispatch)
        self.core.ledger.flush()

    async def delete(self, *, drain: bool) -> None:
        """End every executor; the state is DELETING from the first instant."""
        self._call_off()
        self.dispatch.is_open = False
        self._move(WorkerState.DELETING, "")
        async with self._step:
            await self._end_all(grace=drain)
        self.wake()

    async def stop_for_shutdown(self) -> None:
        """Drain every executor because the service stops; what is desired stays as it is."""
        self._call_off()
        self.dispatch.is_open = False
        async with self._step:
            await self._end_all(grace=True)

    # -- one step ----------------------------------------------------------------------------

    async def _reconcile_safely(self) -> None:
        """Take one step; a fault of ours counts as a failed start of this worker alone."""
        try:
            await self._reconcile()
        except Exception as error:  # the border of a worker
            log.exception("keeper_failed", worker=self.record.name)
            self._note_failed_start(WorkManagerError(f"{type(error).__name__}: {error}"))

    async def _reconcile(self) -> None:
        if not self.is_declared or self.core.is_stopping:
            return
        if self.state in (WorkerState.DELETING, WorkerState.FAILED):
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
        wanted = self.record.spec.concurrency.executors
        if self.state not in _SERVING:
            self._move(WorkerState.STARTING, "")
        while len(self._current()) < wanted:
            if not self._current():
                self._move(WorkerState.STARTING, "")
            try:
                executor = await self._launch(self.record.current)
            except WorkManagerError as error:
                self._note_failed_start(error)
                return
            self._serve([executor])
        for surplus in self._current()[wanted:]:
            self.dispatch.executors.remove(surplus)
            self.retire(surplus)
        await self._serve_sides()
        self._open()

    def _open(self) -> None:
        running = self.record.desired is DesiredState.RUNNING
        self._move(WorkerState.RUNNING if running else WorkerState.PAUSED, "")
        self.dispatch.is_open = running
        pump(self.core, self.dispatch)
        self.core.ledger.flush()

    async def _serve_sides(self) -> None:
        """Start an executor for each old version that a redriven task asked for."""
        for version in list(self._wanted_sides):
            self._wanted_sides.discard(version)
            if any(e.version == version for e in self.dispatch.executors):
                continue  # it runs already
            if version not in self.record.versions or version == self.record.current:
                self._fold_side(version)
                continue
            try:
                executor = await self._launch(version)
            except WorkManagerError as error:
                log.warning("side_version_refused", worker=self.record.name, error=str(error))
                self._fold_side(version)
                continue
            self._serve([executor])

    def _fold_side(self, version: str) -> None:
        """Hand the tasks of a version that cannot run to the current one."""
        side = self.dispatch.sides.pop(version, None)
        if side is not None:
            tasks = [task for task in side.tasks() if task.number not in side.out]
            for task in tasks:
                task.asked_version = ""
            self.dispatch.inbox.add(tasks)

    def _want_side(self, version: str) -> None:
        self._wanted_sides.add(version)
        self.wake()

    # -- executors ---------------------------------------------------------------------------

    async def _launch(self, version: str) -> Executor:
        """Start one executor; can be called off by a stop.

        Raises:
            CodeError, StartError, ConflictError: It does not run; ConflictError if called off.
        """
        assert self._nursery is not None  # noqa: S101 - set by `run` before anything is asked
        scope = self._launching = trio.CancelScope()
        try:
            with scope:
                return await self.launcher.start(self.record, version, self, self._nursery)
        finally:
            self._launching = None
        raise ConflictError(f"worker {self.record.name!r} was stopped while it started")

    async def _launch_all(self, version: str, wanted: int) -> list[Executor]:
        fresh: list[Executor] = []
        try:
            for _ in range(wanted):
                fresh.append(await self._launch(version))  # noqa: PERF401 - ended on failure
        except BaseException:
            for executor in fresh:
                executor.end("another executor of its version failed to start")
            raise
        return fresh

    def _serve(self, fresh: list[Executor]) -> None:
        for executor in fresh:
            if executor.exit is not None:
                self.wake()  # it has died since it was ready: the next step starts another one
                continue
            self.executors[executor.id] = executor
            self.dispatch.executors.append(executor)
        self._notify()

    def _current(self) -> list[Executor]:
        """Return the executors that serve the current version."""
        version = self.dispatch.version
        return [e for e in self.dispatch.executors if e.version == version]

    def _flip(self, version: str, fresh: list[Executor]) -> list[Executor]:
        """Make *fresh* the serving executors, at one instant; returns those that served before."""
        old = self._current()
        busy = any(executor.hand for executor in old)
        self.dispatch.executors = [e for e in self.dispatch.executors if e not in old]
        self.dispatch.version = version
        self._fold_side(version)
        # What the old version has in hand ends before the new one begins, if it ends soon: then
        # no result of the old one comes after a result of the new one.
        if busy:
            self.dispatch.hold_until = trio.current_time() + SWAP_HOLD_S
        self._serve(fresh)
        pump(self.core, self.dispatch)
        return old

    def retire(self, executor: Executor) -> None:
        """Drain an executor that serves no more, in the background."""
        assert self._nursery is not None  # noqa: S101 - see `_launch`
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
                    executor.end("the worker is stopped at once")
                    nursery.start_soon(executor.gone.wait)

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
            self._note_exit(executor, how)
        side = self.dispatch.sides.get(executor.version)
        if side is not None and side.count:
            self._want_side(executor.version)
        self.wake()

    def _note_exit(self, executor: Executor, how: str) -> None:
        if not executor.is_to_blame:
            return  # the supervisor ended it (time-out, cancel): its place is filled at once
        self.restarts += 1
        clean = executor.exit is not None and executor.exit.code == 0
        self._after(
            End(
                at=trio.current_time(),
                uptime_s=time.time() - executor.started_at,
                is_clean=clean,
                is_charged=executor.on_trial or executor.was_charged,
            ),
            f"an executor {how}",
        )

    def _note_failed_start(self, error: WorkManagerError) -> None:
        if isinstance(error, ConflictError):
            return
        self.dispatch.last_error = str(error)[:500]
        self.core.note(self.dispatch, None, "supervisor", "ERROR", "", f"start failed: {error}")
        self._after(End(at=trio.current_time(), uptime_s=0.0), str(error))
        # Code that is refused will be refused again: three tries, then an operator is needed.
        if isinstance(error, CodeError) and self.restart.failures >= REFUSED_STARTS:
            self._give_up(str(error))

    def _after(self, end: End, why: str) -> None:
        """Decide with the restart policy when the next executor starts, if ever."""
        policy = self.record.spec.restart
        self.restart, decision = after_end(self.restart, end, policy, self.core.rng)
        if decision.action is Action.FAIL:
            self._give_up(f"{why}; {decision.reason}")
            return
        if decision.action is Action.REST:
            self._give_up(decision.reason)
            return
        self.retry_at = trio.current_time() + decision.delay_s
        self.core.timers.after(decision.delay_s, self.wake)
        if not self.dispatch.executors:
            self._move(WorkerState.BACKOFF, why)
        self.why = why

    def _give_up(self, why: str) -> None:
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
