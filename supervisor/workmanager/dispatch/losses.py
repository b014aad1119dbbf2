"""Executors that die with tasks in hand, and group turns that come free.

A supervisor that ends an executor charges nobody but the task that made it do so. An executor that
dies by itself with several tasks in hand has one of them to blame, but which? All go back at no
cost and are run alone until the one that kills is known; only that one is charged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.dispatch import finish
from workmanager.dispatch import outcome as words
from workmanager.dispatch.deadlines import CANCEL_EXIT, TIMEOUT_EXIT, timeout_failure
from workmanager.dispatch.handout import pump

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.dispatch.core import Core
    from workmanager.dispatch.task import Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor


def take_exit(core: Core, worker: WorkerDispatch, executor: Executor) -> None:
    """Send back what a dead executor had in hand, and charge the one to blame."""
    if executor.deadline is not None:
        executor.deadline.cancel()
        executor.deadline = None
    held, executor.hand = list(executor.hand.values()), {}
    if executor in worker.executors:
        worker.executors.remove(executor)
    guilty = _guilty(executor, held)
    innocent = [task for task in held if task is not guilty]
    for task in held:
        task.fence = None
    if guilty is not None:
        executor.was_charged = True
        _charge(core, worker, executor, guilty)
    if guilty is None and executor.is_to_blame:
        worker.suspects.extend(innocent)
    else:
        _give_back(worker, innocent)
    if worker.lock is not None:
        core.ledger.after_commit(lambda: free_turns(core, worker, executor, held))
    core.ledger.flush()
    pump(core, worker)


def free_turns(
    core: Core, worker: WorkerDispatch, executor: Executor, tasks: Sequence[Task]
) -> None:
    """Give back group turns of answered tasks, and let those who waited go on."""
    lock = worker.lock
    if lock is None:
        return
    for task in tasks:
        for owner, parked in lock.leave_key(task):
            owner.inbox_of(parked).give_back([parked])
            pump(core, owner)
    if not executor.hand:
        for waiting in lock.leave(executor):
            pump(core, waiting)
        pump(core, worker)
    core.ledger.flush()


def _give_back(worker: WorkerDispatch, tasks: list[Task]) -> None:
    for task in reversed(tasks):
        worker.inbox_of(task).give_back([task])


def _guilty(executor: Executor, held: list[Task]) -> Task | None:
    """Find the one task to charge; None if nobody is, or if it is not known who."""
    if not held:
        return None
    if executor.asked_to_end == TIMEOUT_EXIT:
        return next((t for t in held if t.number in executor.overdue), None)
    if executor.asked_to_end == CANCEL_EXIT:
        return next((t for t in held if t.canceled), None)
    if not executor.is_to_blame:
        return None
    if len(held) == 1 or held[0].asked_version:
        return held[0]
    return None


def _charge(core: Core, worker: WorkerDispatch, executor: Executor, task: Task) -> None:
    how = executor.exit.words if executor.exit else "exited"
    if task.number in executor.overdue:
        failure = timeout_failure(worker)
        finish.fail_attempt(core, worker, executor, task, failure, kind=words.ERROR, timed_out=True)
    elif task.canceled:
        failure = words.Failure("Canceled", "the task was canceled; its executor had to be killed")
        finish.fail_attempt(core, worker, executor, task, failure, kind=words.CANCELLED)
    else:
        failure = words.Failure("ExecutorCrashed", f"the executor {how}")
        if not finish.charge_crash(core, worker, executor, task, failure):
            return
        if task.asked_version:
            _give_back(worker, [task])
        else:
            worker.suspects.append(task)
