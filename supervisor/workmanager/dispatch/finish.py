"""The end of a task, or its next try: what is written, counted and told.

Every function here leaves the task in exactly one place: settled in the ledger, or back in its
worker's inbox. None of them hands out more work; callers do, once per batch.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from workmanager.dispatch import dead_letters
from workmanager.dispatch import outcome as words
from workmanager.dispatch.outcome import Failure, Settled
from workmanager.executors.meter import NO_BILL
from workmanager.model.states import TaskStatus
from workmanager.policy.retry import Failed, GiveUp, TryAgain, decide
from workmanager.store.rows import RetryRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.dispatch.core import Core
    from workmanager.dispatch.task import StoredEvent, Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor

FREE_SEGMENT = 0  # segment id of a task that is not in the store (dry run)

_HOW = {words.RETRY: Failed.ASKED, words.NON_RETRYABLE: Failed.FINAL}
_COMPLETED = TaskStatus.COMPLETED.value


def complete(
    core: Core,
    worker: WorkerDispatch,
    executor: Executor,
    task: Task,
    *,
    outputs: Sequence[StoredEvent],
    duration_us: int,
    now: float,
) -> None:
    """Settle a task that succeeded; its outputs are already in the ledger."""
    task.attempt += 1
    worker.counts["completed"] += 1
    attributes = task.event.attributes
    row = (
        task.number, worker.no, _COMPLETED, task.attempt, task.crashes, executor.version,
        executor.id, attributes["id"], attributes["source"], attributes["type"],
        task.accepted_at, now, duration_us, len(outputs), "", "",
        *executor.meter.bill(duration_us), task.event.topic,
    )  # fmt: skip
    _leave(core, worker, task, row)
    if task.waiter is not None:
        task.waiter.callback(Settled(TaskStatus.COMPLETED, outputs, None, duration_us))


def end(
    core: Core,
    worker: WorkerDispatch,
    task: Task,
    status: TaskStatus,
    *,
    reason: str,
    failure: Failure | None = None,
    executor: Executor | None = None,
    duration_us: int = 0,
) -> None:
    """Settle a task without success; it becomes a dead letter unless it was skipped or canceled."""
    now = time.time()
    worker.counts["skipped" if status is TaskStatus.SKIPPED else "failed"] += 1
    if failure is not None and status is not TaskStatus.SKIPPED:  # a Drop is no error
        worker.last_error = f"{failure.type}: {failure.message}"[:500]
    if _is_kept(task, status):
        dead_letters.keep(core, worker, task, reason, failure, executor, now)
    attributes = task.event.attributes
    error = (failure.type, failure.message[:500]) if failure else (reason, "")
    row = (
        task.number, worker.no, status.value, task.attempt, task.crashes,
        executor.version if executor else worker.version, executor.id if executor else "",
        attributes["id"], attributes["source"], attributes["type"],
        task.accepted_at, now, duration_us, 0, *error,
        *(executor.meter.bill(duration_us) if executor else NO_BILL), task.event.topic,
    )  # fmt: skip
    _leave(core, worker, task, row)
    if task.waiter is not None:
        task.waiter.callback(Settled(status, (), failure or Failure(reason, ""), duration_us))


def fail_attempt(
    core: Core,
    worker: WorkerDispatch,
    executor: Executor | None,
    task: Task,
    failure: Failure,
    *,
    kind: int,
    timed_out: bool = False,
    duration_us: int = 0,
) -> None:
    """Count an attempt that failed: try again later, or end the task."""
    task.attempt += 1
    task.error = (failure.type, failure.message, failure.traceback)
    worker.counts["attempts_failed"] += 1
    if timed_out:
        worker.counts["attempts_timed_out"] += 1
    verdict = _verdict(core, worker, task, failure, kind=kind, timed_out=timed_out)
    if isinstance(verdict, GiveUp):
        end(
            core, worker, task, verdict.status,
            reason=verdict.reason, failure=failure, executor=executor, duration_us=duration_us,
        )  # fmt: skip
        return
    worker.counts["retried"] += 1
    worker.last_error = f"{failure.type}: {failure.message}"[:500]
    due_at = time.time() + verdict.delay_s
    worker.inbox_of(task).delay(task, due_at)
    _write_retry(core, worker, task, due_at, failure)


def charge_crash(
    core: Core, worker: WorkerDispatch, executor: Executor, task: Task, failure: Failure
) -> bool:
    """Count a crash against the task that caused it; False if that was its last."""
    task.crashes += 1
    task.error = (failure.type, failure.message, failure.traceback)
    worker.counts["crashed"] += 1
    worker.counts["attempts_failed"] += 1
    worker.last_error = f"{failure.type}: {failure.message}"[:500]
    if task.crashes >= worker.spec.dead_letter.max_crashes or task.single_shot:
        end(
            core, worker, task, TaskStatus.FAILED,
            reason=words.CRASHED, failure=failure, executor=executor,
        )  # fmt: skip
        return False
    _write_retry(core, worker, task, 0.0, failure)
    return True


def remember_version(core: Core, worker: WorkerDispatch, task: Task) -> None:
    """Keep which version a task asked for, so that a restart does not forget it."""
    if task.asked_version:
        _write_retry(core, worker, task, 0.0, Failure("", ""))


def _verdict(
    core: Core,
    worker: WorkerDispatch,
    task: Task,
    failure: Failure,
    *,
    kind: int,
    timed_out: bool,
) -> TryAgain | GiveUp:
    if task.canceled:
        return GiveUp(TaskStatus.CANCELED, words.CANCELED)
    how = Failed.TIMED_OUT if timed_out else _HOW.get(kind, Failed.ERROR)
    verdict = decide(
        worker.spec.retry,
        how,
        error_type=failure.type,
        attempt=task.attempt,
        rng=core.rng,
        asked_after_s=failure.after_s,
    )
    if task.single_shot and isinstance(verdict, TryAgain):
        status = TaskStatus.TIMED_OUT if timed_out else TaskStatus.FAILED
        return GiveUp(status, words.ATTEMPTS_EXHAUSTED)
    return verdict


def _is_kept(task: Task, status: TaskStatus) -> bool:
    if task.single_shot or task.segment.id == FREE_SEGMENT:
        return False
    return status not in (TaskStatus.SKIPPED, TaskStatus.CANCELED)


def _leave(core: Core, worker: WorkerDispatch, task: Task, row: tuple[object, ...]) -> None:
    """Take the task off the inbox and the store."""
    worker.inbox_of(task).settled(task)
    if task.segment.id == FREE_SEGMENT:
        return
    core.ledger.settle(task, row)
    if task.has_row:
        core.ledger.drop_retry(task.number)
    if worker.blocks and not worker.is_full():
        unblock(worker)


def unblock(worker: WorkerDispatch) -> None:
    """Let the workers go on that wait for room in this one's inbox."""
    blocked, worker.blocks = worker.blocks, set()
    for producer in blocked:
        producer.blocked_by.discard(worker)
        producer.wake()


def _write_retry(
    core: Core, worker: WorkerDispatch, task: Task, due_at: float, failure: Failure
) -> None:
    if task.segment.id == FREE_SEGMENT:
        return
    task.has_row = True
    if core.watch is not None:
        core.watch.delayed(task)
    core.ledger.put_retry(
        RetryRow(
            task_number=task.number,
            worker_no=worker.no,
            attempts=task.attempt,
            crashes=task.crashes,
            due_at=due_at,
            error_type=failure.type,
            error_message=failure.message[:500],
            target_version=task.asked_version,
        )
    )
