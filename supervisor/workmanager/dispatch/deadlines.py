"""Deadlines of attempts: ask to stop, then kill; heartbeats; cancels.

An executor has one armed deadline, the earliest of all it has in hand. It is looked at when it
comes, not moved with every outcome, so that deadlines cost nothing per event. Where attempts run
one after another, the oldest in hand began when the one before it was answered.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

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
        if not executor.kill_at:  # else it is armed anew, to kill the one that was asked to stop
            executor.throttled_before_s = executor.throttled_s()
        executor.deadline = core.timers.at(when, lambda: _check(core, worker, executor))


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
    now = trio.current_time() + _EARLY_S
    late = [no for no in _running(executor) if _due_of(worker, executor, no) <= now]
    for no in late:
        executor.kill_at[no] = now + worker.spec.drain.kill_after_s
        executor.cancel(no)
    if late and executor.mode == "batch":
        executor.overdue.update(task.number for task in executor.hand.values())
    executor.overdue.update(executor.hand[no].number for no in late)
    executor.kill_at = {no: at for no, at in executor.kill_at.items() if no in executor.hand}
    if any(at <= now for at in executor.kill_at.values()):
        executor.end(TIMEOUT_EXIT)
    else:
        watch(core, worker, executor)


def _due(worker: WorkerDispatch, executor: Executor) -> float:
    """Return when somebody's time is over first: to be asked to stop, or to be killed."""
    running = _running(executor)
    if not worker.spec.timeouts.heartbeat_s:
        running = running[:1]  # who began first ends first
    times = [_due_of(worker, executor, no) for no in running]
    return min([*times, *executor.kill_at.values()], default=math.inf)


def _running(executor: Executor) -> list[int]:
    """Return those in hand that run and have not been asked to stop, the oldest first."""
    if executor.per_executor == 1:
        head = next(iter(executor.hand))
        return [] if head in executor.kill_at else [head]
    return [no for no in executor.hand if no not in executor.kill_at]


def _due_of(worker: WorkerDispatch, executor: Executor, no: int) -> float:
    timeouts = worker.spec.timeouts
    started = executor.sent_at.get(no, executor.progress_at)
    when = started + timeouts.start_to_close_s
    if timeouts.heartbeat_s:
        beat = max(executor.heartbeats.get(no, started), started)
        when = min(when, beat + timeouts.heartbeat_s)
    return when
