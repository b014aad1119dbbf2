"""Deadlines of attempts: ask to stop, then kill; heartbeats; cancels.

An executor has one armed deadline, for the attempt that has run longest. It is looked at when it
comes, not moved with every outcome, so that deadlines cost nothing per event. Where attempts run
one after another, the oldest in hand began when the one before it was answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from workmanager.dispatch.outcome import Failure

if TYPE_CHECKING:
    from workmanager.dispatch.core import Core
    from workmanager.dispatch.task import Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor

TIMEOUT_EXIT = "an attempt ran out of time"
CANCEL_EXIT = "a task was canceled"
_EARLY_S = 1e-6


def watch(core: Core, worker: WorkerDispatch, executor: Executor) -> None:
    """Arm the executor's deadline unless it is armed; called after tasks were handed to it."""
    if executor.deadline is None and executor.hand:
        when = _due(worker, executor)
        executor.deadline = core.timers.at(when, lambda: _check(core, worker, executor))


def timeout_failure(worker: WorkerDispatch, traceback: str = "") -> Failure:
    """Make the failure of an attempt that ran out of time."""
    limit_s = worker.spec.timeouts.start_to_close_s
    beat_s = worker.spec.timeouts.heartbeat_s
    beat = f" (or {beat_s:g} s without a heartbeat)" if beat_s else ""
    return Failure("Timeout", f"timeouts.startToClose of {limit_s:g} s passed{beat}", traceback)


def cancel(core: Core, worker: WorkerDispatch, executor: Executor, task: Task) -> None:
    """Ask the handler of *task* to stop; kill its executor if it does not."""
    no = number_in_hand(executor, task)
    if no is None:
        return
    executor.cancel(no)

    def kill() -> None:
        if number_in_hand(executor, task) is not None:
            executor.end(CANCEL_EXIT)

    core.timers.after(worker.spec.drain.kill_after_s, kill)


def number_in_hand(executor: Executor, task: Task) -> int | None:
    """Return the delivery number under which *executor* holds *task*; None if it does not."""
    return next((no for no, held in executor.hand.items() if held is task), None)


def _check(core: Core, worker: WorkerDispatch, executor: Executor) -> None:
    """The armed deadline has come: somebody is overdue, or progress has moved it on."""
    executor.deadline = None
    if not executor.hand or executor.exit is not None:
        return
    now = trio.current_time()
    if now + _EARLY_S < _due(worker, executor):
        watch(core, worker, executor)
        return
    no, task = _longest(worker, executor)
    executor.overdue.add(task.number)
    executor.cancel(no)

    def kill() -> None:
        executor.deadline = None
        if number_in_hand(executor, task) is not None:
            executor.end(TIMEOUT_EXIT)
        else:
            watch(core, worker, executor)

    executor.deadline = core.timers.at(now + worker.spec.drain.kill_after_s, kill)


def _due(worker: WorkerDispatch, executor: Executor) -> float:
    no, _ = _longest(worker, executor)
    return _due_of(worker, executor, no)


def _longest(worker: WorkerDispatch, executor: Executor) -> tuple[int, Task]:
    """Return whose time is over first: the oldest, or the one whose heartbeat fails."""
    if executor.per_executor == 1 or not worker.spec.timeouts.heartbeat_s:
        return next(iter(executor.hand.items()))
    no = min(executor.hand, key=lambda n: _due_of(worker, executor, n))
    return no, executor.hand[no]


def _due_of(worker: WorkerDispatch, executor: Executor, no: int) -> float:
    timeouts = worker.spec.timeouts
    started = executor.sent_at.get(no, executor.progress_at)
    when = started + timeouts.start_to_close_s
    if timeouts.heartbeat_s:
        beat = max(executor.heartbeats.get(no, started), started)
        when = min(when, beat + timeouts.heartbeat_s)
    return when
