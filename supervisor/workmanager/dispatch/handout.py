"""From inbox to executor: everything that credit, rate, order, group and time allow, at once.

`pump` is called whenever something that could hold a worker up has changed. It never waits: what
has to wait leaves a timer, a place in a group's queue, or a credit that comes back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from workmanager.dispatch import deadlines, finish
from workmanager.dispatch import outcome as words
from workmanager.model.event import parse_time
from workmanager.model.states import TaskStatus
from workmanager.policy.keys import key_of_attributes

if TYPE_CHECKING:
    from workmanager.dispatch.core import Core
    from workmanager.dispatch.inbox import Inbox
    from workmanager.dispatch.task import Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor

EXPIRY_TOLERANCE_S = 5.0  # clocks of publisher and host differ
SLACK_S = 0.001  # a timer may fire a hair before its time


def pump(core: Core, worker: WorkerDispatch) -> None:
    """Hand out what can be handed out to this worker's executors now."""
    if not _may_run(core, worker):
        if worker.lock is not None:
            worker.lock.stop_waiting(worker)
        return
    now = trio.current_time()
    if worker.inbox.wake_due(time.time() + SLACK_S) or worker.sides:
        for side in worker.sides.values():
            side.wake_due(time.time() + SLACK_S)
    for executor in worker.ready_executors():
        _feed(core, worker, executor, now)
    _arm(core, worker, now)


def _may_run(core: Core, worker: WorkerDispatch) -> bool:
    if not worker.is_open or core.is_stopping or core.ledger.error is not None:
        return False
    # A full worker must drain even if whom it feeds is full too: in a ring all would wait.
    return not worker.blocked_by or worker.is_full()


def _feed(core: Core, worker: WorkerDispatch, executor: Executor, now: float) -> None:
    if executor.version != worker.version:
        side = worker.sides.get(executor.version)
        if side is not None and side.ready():
            _send(core, worker, executor, side, executor.credit(), now)
        return
    if now < worker.hold_until:
        return
    if worker.suspects:
        _try_suspects(core, worker, executor, now)
        return
    if executor.on_trial:
        return
    credit = executor.credit()
    if credit > 0 and worker.inbox.ready():
        if worker.spec.batch.size > 1 or executor.mode == "batch":
            _send_batches(core, worker, executor, credit, now)
        else:
            _send(core, worker, executor, worker.inbox, credit, now)


def _try_suspects(core: Core, worker: WorkerDispatch, executor: Executor, now: float) -> None:
    """Run some of those that one is to blame of by themselves, to find out which."""
    if executor.hand:
        return
    fence = None
    if worker.lock is not None and not worker.group_key:
        fence = worker.lock.enter(executor, worker, now)
        if fence is None:
            return
    going = worker.suspects.popleft()
    for task in going:
        task.fence = fence
    if worker.lock is not None and worker.group_key:
        going = _with_keys(worker, executor, going, now)
    if going:
        executor.on_trial = True
        _give(core, worker, executor, going)


def _give(core: Core, worker: WorkerDispatch, executor: Executor, tasks: list[Task]) -> None:
    wires = core.tracer.begin(tasks) if core.tracer is not None else None
    worker.counts["handouts"] += 1
    worker.counts["handed_out"] += len(tasks)
    executor.run(tasks, batch=executor.mode == "batch", wires=wires)
    if core.watch is not None:
        core.watch.handed_out(executor, tasks)
    deadlines.watch(core, worker, executor)


def _send(
    core: Core, worker: WorkerDispatch, executor: Executor, inbox: Inbox, credit: int, now: float
) -> None:
    if worker.lock is not None and not worker.group_key and executor.per_executor > 1:
        credit = min(credit, 1 - len(executor.hand))  # one attempt at a time is the promise
    while credit > 0 and inbox.ready():
        fence = None
        if worker.lock is not None and not worker.group_key:
            fence = worker.lock.enter(executor, worker, now)
            if fence is None:
                return
        allowed = _within_rate(worker, min(credit, inbox.ready()), now)
        if not allowed:
            break
        tasks = _fit(core, worker, inbox.take(allowed))
        if worker.lock is not None and worker.group_key:
            tasks = _with_keys(worker, executor, tasks, now)
        elif fence is not None:
            for task in tasks:
                task.fence = fence
        if worker.bucket is not None:
            worker.bucket.give_back(allowed - len(tasks))
        credit -= len(tasks)
        if tasks:
            _give(core, worker, executor, tasks)
    if worker.lock is not None and not executor.hand:
        worker.lock.leave(executor)  # a turn in which nothing could be sent after all


def _send_batches(
    core: Core, worker: WorkerDispatch, executor: Executor, credit: int, now: float
) -> None:
    """Send whole batches; a short one waits for `batch.window` to fill."""
    batch = worker.spec.batch
    while credit > 0 and not executor.hand:
        ready = worker.inbox.ready()
        oldest = worker.inbox.oldest()
        if oldest is None:
            return
        if ready < batch.size and batch.window_s:
            ripe_in = oldest.accepted_at + batch.window_s - time.time()
            if ripe_in > SLACK_S:
                wake_at(core, worker, now + ripe_in)
                return
        _send(core, worker, executor, worker.inbox, min(batch.size, ready), now)
        credit -= 1


def _within_rate(worker: WorkerDispatch, wanted: int, now: float) -> int:
    return wanted if worker.bucket is None else worker.bucket.take(wanted, now)


def _with_keys(
    worker: WorkerDispatch, executor: Executor, tasks: list[Task], now: float
) -> list[Task]:
    """Keep the tasks whose group key is free; the others are parked at the lock."""
    assert worker.lock is not None  # noqa: S101 - the caller has checked
    read = key_of_attributes(worker.group_key)
    going = []
    for task in tasks:
        key = read(task.event.attributes) or ""
        task.fence = worker.lock.enter_key(executor, worker, task, key, now)
        if task.fence is not None:
            going.append(task)
    return going


def _fit(core: Core, worker: WorkerDispatch, tasks: list[Task]) -> list[Task]:
    """Drop the tasks whose time is over; usually none is, and the list comes back as it is."""
    timeouts = worker.spec.timeouts
    now = time.time()
    if tasks:
        worker.last_event_at = now
        worker.last_wait_s = max(0.0, now - tasks[0].accepted_at)
    to_start, to_close = timeouts.schedule_to_start_s, timeouts.schedule_to_close_s
    late = [
        task
        for task in tasks
        if (to_close and now - task.accepted_at > to_close)
        or (to_start and now - task.accepted_at > to_start and not task.attempt)
        or "expirytime" in task.event.attributes
    ]
    if not late:
        return tasks
    gone = {task.number for task in late if _over(core, worker, task, now)}
    core.ledger.flush()
    return [task for task in tasks if task.number not in gone]


def _over(core: Core, worker: WorkerDispatch, task: Task, now: float) -> bool:
    timeouts = worker.spec.timeouts
    age_s = now - task.accepted_at
    if timeouts.schedule_to_close_s and age_s > timeouts.schedule_to_close_s:
        _timed_out(core, worker, task, "scheduleToClose")
        return True
    if timeouts.schedule_to_start_s and age_s > timeouts.schedule_to_start_s and not task.attempt:
        _timed_out(core, worker, task, "scheduleToStart")
        return True
    until = parse_time(task.event.attributes.get("expirytime"))
    if until is not None and until.timestamp() + EXPIRY_TOLERANCE_S < now:
        finish.end(core, worker, task, TaskStatus.SKIPPED, reason=words.EXPIRED)
        return True
    return False


def _timed_out(core: Core, worker: WorkerDispatch, task: Task, which: str) -> None:
    failure = words.Failure("Timeout", f"timeouts.{which} passed before the task could run")
    finish.end(
        core, worker, task, TaskStatus.TIMED_OUT, reason=words.SCHEDULE_TIMEOUT, failure=failure
    )


def _arm(core: Core, worker: WorkerDispatch, now: float) -> None:
    """Leave a timer for the next thing that time alone brings about."""
    if worker.bucket is not None and worker.inbox.ready():
        token_at = worker.bucket.next_at(now)
        if token_at > now:  # else credit is what lacks, and it comes back without a timer
            wake_at(core, worker, token_at)
    due = worker.inbox.next_due()
    if due is not None:
        wake_at(core, worker, now + max(0.0, due - time.time()))
    if now < worker.hold_until:
        wake_at(core, worker, worker.hold_until)
    if worker.lock is not None and not worker.inbox.ready():
        worker.lock.stop_waiting(worker)


def wake_at(core: Core, worker: WorkerDispatch, when: float) -> None:
    """Pump the worker at *when* (trio's clock) at the latest; the earliest wish wins."""
    if worker.timer is not None:
        if worker.timer_at <= when:
            return
        worker.timer.cancel()

    def fire() -> None:
        worker.timer = None
        pump(core, worker)
        core.ledger.flush()

    worker.timer_at = when
    worker.timer = core.timers.at(when, fire)
