"""Executors that die with tasks in hand, batches that fail, and group turns that come free.

A supervisor that ends an executor charges nobody but the task that made it do so. An executor that
dies by itself with several tasks in hand has one of them to blame, but which? All go back at no
cost and run by themselves until the one that kills is known; only that one is charged. A batch that
fails as a whole, or kills, is halved until the one is alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.dispatch import finish, hits, membership
from workmanager.dispatch import outcome as words
from workmanager.dispatch.deadlines import CANCEL_EXIT, TIMEOUT_EXIT
from workmanager.dispatch.handout import pump

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.dispatch.core import Core
    from workmanager.dispatch.task import Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor
    from workmanager.groups.local import HostLock

_BLAMED = (words.ERROR, words.NON_RETRYABLE, words.CANCELLED)


def take_exit(core: Core, worker: WorkerDispatch, executor: Executor) -> None:
    """Send back what a dead executor had in hand, and charge the one to blame."""
    if executor.deadline is not None:
        executor.deadline.cancel()
        executor.deadline = None
    is_too_late = membership.has_lost_lease(core, worker, executor)
    held, executor.hand = list(executor.hand.values()), {}
    if executor in worker.executors:
        worker.executors.remove(executor)
    if core.tracer is not None:
        core.tracer.lost(worker, executor, held)
    if executor.exit is not None and executor.exit.limit:
        hits.count(worker, executor.exit.limit)
    guilty, suspects = _to_blame(executor, held)
    if is_too_late:  # the verdict would be an outcome: somebody else may hold the lease
        guilty, suspects = None, []
    for task in held:
        task.fence = None
    if guilty is not None:
        executor.was_charged = True
        _charge(core, worker, executor, guilty)
    worker.suspects.extend(_parted(executor, suspects))
    known = {task.number for task in suspects}
    _give_back(worker, [t for t in held if t is not guilty and t.number not in known])
    if worker.lock is not None or worker.former_locks:
        core.ledger.after_commit(lambda: free_turns(core, worker, executor, held))
    core.ledger.flush()
    pump(core, worker)


def free_turns(
    core: Core, worker: WorkerDispatch, executor: Executor, tasks: Sequence[Task]
) -> None:
    """Give back group turns of answered tasks, and let those who waited go on."""
    for lock in (worker.lock, *worker.former_locks):
        if lock is not None:
            _free_turns(core, lock, executor, tasks)
    if worker.former_locks:
        worker.former_locks = [lock for lock in worker.former_locks if lock.has_turn_of(worker)]
    if not executor.hand:
        pump(core, worker)
    core.ledger.flush()


def _free_turns(core: Core, lock: HostLock, executor: Executor, tasks: Sequence[Task]) -> None:
    for task in tasks:
        for owner, parked in lock.leave_key(task):
            owner.inbox_of(parked).give_back([parked])
            pump(core, owner)
    if not executor.hand:
        for waiting in lock.leave(executor):
            pump(core, waiting)
    membership.close_unused(core, lock)


def _give_back(worker: WorkerDispatch, tasks: list[Task]) -> None:
    for task in reversed(tasks):
        worker.inbox_of(task).give_back([task])


def has_failed_whole(
    worker: WorkerDispatch, executor: Executor, outcomes: Sequence[Sequence[Any]]
) -> bool:
    """Tell whether a batch was answered with one error for all of its events."""
    if not worker.spec.batch.bisect_on_error or len(outcomes) < 2:
        return False
    hand = executor.hand
    return all(
        status in _BLAMED and not hand[no].canceled and not hand[no].single_shot
        for no, status, *_ in outcomes
    )


def halve(
    worker: WorkerDispatch, executor: Executor, outcomes: Sequence[Sequence[Any]]
) -> list[Task]:
    """Run the halves of a failed batch by themselves, at no cost; returns its tasks."""
    tasks = [executor.part_with(no) for no, *_ in outcomes]
    error = outcomes[0][4] or ["Error", ""]
    worker.counts["halved"] += 1
    worker.last_error = f"a batch of {len(tasks)}: {error[0]}: {error[1]}"[:500]
    worker.suspects.extend(_parted(executor, tasks))
    return tasks


def _to_blame(executor: Executor, held: list[Task]) -> tuple[Task | None, list[Task]]:
    """Return the one task to charge, or those of which one is; neither if nobody is to blame."""
    if executor.asked_to_end == CANCEL_EXIT:
        return next((t for t in held if t.canceled), None), []
    suspects: list[Task] = []
    if executor.asked_to_end == TIMEOUT_EXIT:
        suspects = [t for t in held if t.number in executor.overdue]
    elif executor.is_to_blame:
        suspects = held
    if suspects and (len(suspects) == 1 or suspects[0].asked_version):
        return suspects[0], []
    return None, suspects


def _parted(executor: Executor, tasks: list[Task]) -> list[list[Task]]:
    """Part suspects: one by one, or in halves where a call takes many."""
    if executor.mode != "batch":
        return [[task] for task in tasks]
    middle = (len(tasks) + 1) // 2
    return [half for half in (tasks[:middle], tasks[middle:]) if half]


def _charge(core: Core, worker: WorkerDispatch, executor: Executor, task: Task) -> None:
    if task.number in executor.overdue:
        failure = hits.timed_out(worker, executor)
        finish.fail_attempt(core, worker, executor, task, failure, kind=words.ERROR, timed_out=True)
    elif task.canceled:
        failure = words.Failure("Canceled", "the task was canceled; its executor had to be killed")
        finish.fail_attempt(core, worker, executor, task, failure, kind=words.CANCELLED)
    else:
        failure = hits.killed(worker, executor)
        if not finish.charge_crash(core, worker, executor, task, failure):
            return
        if task.asked_version:
            _give_back(worker, [task])
        else:
            worker.suspects.append([task])
