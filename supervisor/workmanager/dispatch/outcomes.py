"""What executors answered: each outcome settles its task or sends it to its next try.

All outcomes that arrived together become one commit: their statuses, their outputs, and the
deliveries of those outputs to workers of this host.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from workmanager.dispatch import finish, hits, losses, membership
from workmanager.dispatch import outcome as words
from workmanager.dispatch.handout import pump
from workmanager.dispatch.outputs import Maker, OutputError
from workmanager.dispatch.routing import offer
from workmanager.model.event import now_text
from workmanager.model.states import TaskStatus

if TYPE_CHECKING:
    from workmanager.dispatch.core import Core
    from workmanager.dispatch.task import StoredEvent, Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor

RECENT_KEPT = 2048  # answered deliveries whose late log lines still find their task
MAX_RETRY_AFTER_S = 366 * 86_400.0


def take_outcomes(
    core: Core, worker: WorkerDispatch, executor: Executor, outcomes: list[list[Any]]
) -> None:
    """Settle a batch of outcomes; the executor has checked their form and that they are its own."""
    core.now = now = time.time()
    at = now_text()
    maker = worker.maker
    if maker is None or maker.version != executor.version:
        maker = worker.maker = Maker(worker, executor.version)
    freed: list[Task] = []
    has_turns = worker.lock is not None or bool(worker.former_locks)
    hand = executor.hand
    if len(executor.recent) > RECENT_KEPT:
        executor.recent.clear()
        executor.recent_contexts.clear()
    if worker.lock is not None and worker.lock.leases is not None:
        outcomes, freed = membership.take_late(core, worker, executor, outcomes)
    if core.tracer is not None:
        maker.contexts = core.tracer.settle(worker, executor, outcomes)
    if executor.mode == "batch" and losses.has_failed_whole(worker, executor, outcomes):
        freed, outcomes = freed + losses.halve(worker, executor, outcomes), []
    durations, busy_us = worker.durations, 0
    for no, status, duration_us, proposals, error in outcomes:
        task = executor.part_with(no)
        busy_us += duration_us
        durations[duration_us.bit_length()] += 1
        if has_turns:
            freed.append(task)
        if status == words.OK and not task.canceled:
            _succeed(core, worker, executor, task, maker, proposals, duration_us, now, at)
        else:
            _fail(core, worker, executor, task, status, error, duration_us)
    worker.busy_us += busy_us
    if outcomes:
        worker.last_duration_us = outcomes[-1][2]
    if executor.heartbeats:
        executor.heartbeats = {no: when for no, when in executor.heartbeats.items() if no in hand}
    if executor.sent_at:
        executor.sent_at = {no: when for no, when in executor.sent_at.items() if no in hand}
    executor.overdue &= {task.number for task in hand.values()} if executor.overdue else set()
    executor.on_trial = executor.on_trial and bool(hand)
    if has_turns:
        core.ledger.after_commit(lambda: losses.free_turns(core, worker, executor, freed))
    pump(core, worker)  # first: the executor works on while the commit is made
    core.ledger.flush()


def _succeed(
    core: Core,
    worker: WorkerDispatch,
    executor: Executor,
    task: Task,
    maker: Maker,
    proposals: list[Any],
    duration_us: int,
    now: float,
    at: str,
) -> None:
    outputs: list[StoredEvent] = []
    if proposals:
        try:
            outputs = maker.make(task, proposals, at)
        except OutputError as error:
            failure = words.Failure("OutputError", str(error))
            worker.counts["outputs_refused"] += 1
            finish.fail_attempt(core, worker, executor, task, failure, kind=words.NON_RETRYABLE)
            return
        if task.segment.id != finish.FREE_SEGMENT:
            for event in outputs:
                if event.topic:
                    offer(core, event, producer=worker)
        worker.counts["outputs"] += len(outputs)
        worker.last_output_bytes = sum([len(event.wire) for event in outputs])
    finish.complete(core, worker, executor, task, outputs=outputs, duration_us=duration_us, now=now)


def _fail(
    core: Core,
    worker: WorkerDispatch,
    executor: Executor,
    task: Task,
    status: int,
    error: list[Any] | None,
    duration_us: int,
) -> None:
    failure = _failure(error)
    if status == words.DROP:
        finish.end(
            core, worker, task, TaskStatus.SKIPPED,
            reason=words.DROPPED, failure=failure, executor=executor, duration_us=duration_us,
        )  # fmt: skip
        return
    timed_out = task.number in executor.overdue
    if timed_out:
        failure = hits.timed_out(worker, executor, failure.traceback)
    elif task.canceled:
        failure = words.Failure("Canceled", "the task was canceled")
    elif status == words.CANCELLED:
        # Cancelled for no reason of ours: the handler cancelled itself.
        failure = words.Failure("CancelledError", failure.message, failure.traceback)
    else:
        failure = hits.marked(worker, failure)
    finish.fail_attempt(
        core, worker, executor, task, failure,
        kind=status, timed_out=timed_out, duration_us=duration_us,
    )  # fmt: skip


def _failure(error: list[Any] | None) -> words.Failure:
    """Read an error frame; whatever a hostile child put there becomes bounded text."""
    parts = list(error or []) + [None] * 4
    after = parts[3]
    after_s = float(after) if isinstance(after, int | float) and after == after else None
    if after_s is not None:
        after_s = min(max(after_s, 0.0), MAX_RETRY_AFTER_S)
    kind = str(parts[0] or "Error")[:256]
    return words.Failure(kind, str(parts[1] or "")[:4096], str(parts[2] or "")[:16384], after_s)
