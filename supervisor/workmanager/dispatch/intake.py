"""From publishers to inboxes: all of a call's events are committed, or none is.

Admission comes first, for the whole call, before anything is changed. Then the deliveries go into
the open commit; the caller waits for it once, however many events it brought.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from workmanager.dispatch import finish
from workmanager.dispatch import outcome as words
from workmanager.dispatch.core import MAX_EVENT_BYTES
from workmanager.dispatch.handout import pump
from workmanager.dispatch.routing import accept_for
from workmanager.dispatch.task import MAX_DELIVERIES, Segment, StoredEvent, Task
from workmanager.errors import (
    Fault,
    InboxFullError,
    InvalidArgumentError,
    Reason,
    WorkManagerError,
)
from workmanager.model.resources import PublishResult
from workmanager.model.states import TaskStatus
from workmanager.store.commit import OUTBOX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from workmanager.dispatch.core import Core
    from workmanager.dispatch.ledger import Ticket
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.model.event import Event

FULL_RETRY_S = 1.0


async def publish(core: Core, topic: str, events: Sequence[Event]) -> PublishResult:
    """Accept *events* for every worker that consumes *topic*; returns once they are durable.

    Raises:
        InboxFullError: A consumer with `onFull: pause` is at its limit; none was accepted.
        StoreError: The store refuses writes; none was accepted.
        InvalidArgumentError: An event is too large; none was accepted.
    """
    core.ledger.check()
    if core.is_stopping:
        raise WorkManagerError("the service is stopping", reason=Reason.SHUTTING_DOWN)
    routed = _route(core, topic, events)
    try:
        _admit(core, routed)
    except InboxFullError:
        for _, targets in routed:
            for worker in targets:
                worker.assigned = 0
        raise
    deliveries = duplicates = 0
    tickets: dict[int, Ticket] = {}
    now = time.time()
    for event, targets in routed:
        tasks, repeated = accept_for(core, event, targets, now=now, external=True)
        deliveries += len(tasks)
        duplicates += repeated
    for ticket in core.ledger.intake_tickets():
        tickets[id(ticket)] = ticket
    core.ledger.flush()
    for ticket in tickets.values():
        await ticket.wait()
    core.counts["published"] += len(events)
    if core.exit is not core.broker:
        deliveries = _at_home(core, routed)
    return PublishResult(
        topic=topic, accepted=len(events), duplicates=duplicates, deliveries=deliveries
    )


async def submit(
    core: Core,
    worker: WorkerDispatch,
    event: StoredEvent,
    *,
    prepare: Callable[[Task], None] | None = None,
) -> Task:
    """Accept one event for one worker, past topics, filters and dedupe; returns its durable task.

    *prepare* is called with the task before it can be handed out.

    Raises:
        InboxFullError: The worker's inbox is at its limit.
        StoreError: The store refuses writes.
    """
    core.ledger.check()
    _check_size(event, 0, MAX_EVENT_BYTES)
    _admit(core, [(event, (worker,))])
    task = core.ledger.accept(event, (worker.no,), external=True)[0]
    worker.pending += 1
    worker.pending_bytes += task.size_bytes
    if prepare is not None:
        prepare(task)
    tickets = core.ledger.intake_tickets()
    core.ledger.flush()
    for ticket in tickets:
        await ticket.wait()
    return task


def rehearse(worker: WorkerDispatch, event: StoredEvent) -> Task:
    """Put an event into the inbox that leaves no trace in the store (dry run)."""
    free = Segment(finish.FREE_SEGMENT, bytearray(1))
    number = -int(time.monotonic_ns() >> 10)  # below every number of the store
    task = Task(event, free, number, worker.no, time.time())
    task.single_shot = True
    worker.inbox_of(task).add((task,))
    return task


def deliver(core: Core, tasks: list[Task]) -> None:
    """Give committed tasks to their workers' inboxes and hand out what can be handed out."""
    by_worker: dict[int, list[Task]] = {}
    for task in tasks:
        mine = by_worker.get(task.worker_no)
        if mine is None:
            by_worker[task.worker_no] = [task]
        else:
            mine.append(task)
    for number, mine in by_worker.items():
        worker = core.workers.get(number)
        if worker is None:
            drop(core, mine)
            continue
        worker.pending -= len(mine)
        worker.pending_bytes -= sum(len(task.event.wire) for task in mine)
        _file(worker, mine)
        if worker.spec.inbox.on_full != "pause":
            _relieve(core, worker)
        pump(core, worker)
    core.ledger.flush()


def drop(core: Core, tasks: Iterable[Task]) -> None:
    """Settle tasks of a worker that is gone."""
    for task in tasks:
        core.ledger.settle(task, None)
        if task.has_row:
            core.ledger.drop_retry(task.number)


def _file(worker: WorkerDispatch, tasks: list[Task]) -> None:
    if any(task.asked_version for task in tasks):
        for task in tasks:
            if task.asked_version and task.asked_version != worker.version:
                worker.side(task.asked_version).add((task,))
                worker.on_demand(task.asked_version)
            else:
                task.asked_version = ""
                worker.inbox.add((task,))
        return
    worker.inbox.add(tasks)


def _route(
    core: Core, topic: str, events: Sequence[Event]
) -> list[tuple[StoredEvent, Sequence[WorkerDispatch]]]:
    fixed = core.exit.fixed(topic)
    routed = []
    for index, event in enumerate(events):
        stored = StoredEvent(topic, event.pack(), event.attributes)
        _check_size(stored, index, core.publish_max_bytes)
        targets = fixed if fixed is not None else core.exit.route(topic, event.attributes)
        if targets:
            if len(targets) > MAX_DELIVERIES:
                raise WorkManagerError(f"{len(targets)} workers on one topic are too many")
            routed.append((stored, targets))
        else:
            core.counts["unrouted"] += 1
    return routed


def _at_home(core: Core, routed: Sequence[tuple[StoredEvent, Sequence[WorkerDispatch]]]) -> int:
    """Count the deliveries to be, now that the events are on their way out and back."""
    count = 0
    for event, _ in routed:
        targets = core.broker.route(event.topic, event.attributes)
        count += len(targets)
        for worker in targets:
            worker.assigned = 0
    return count


def _check_size(event: StoredEvent, index: int, limit: int) -> None:
    if len(event.wire) > limit:
        detail = f"is {len(event.wire)} bytes; at most {limit} are allowed"
        raise InvalidArgumentError(
            f"event {index} {detail}",
            reason=Reason.PAYLOAD_TOO_LARGE,
            faults=[Fault(f"[{index}]", detail)],
        )


def _admit(core: Core, routed: Sequence[tuple[StoredEvent, Sequence[WorkerDispatch]]]) -> None:
    """Refuse the call if a worker that pauses its source is full, or would be past its limit."""
    counts: Counter[WorkerDispatch] = Counter()
    sizes: Counter[WorkerDispatch] = Counter()
    for event, targets in routed:
        size = len(event.wire)
        for worker in targets:
            counts[worker] += 1
            sizes[worker] += size
    for worker, count in counts.items():
        inbox = worker.spec.inbox
        if inbox.on_full != "pause":
            continue
        too_many = worker.backlog and worker.backlog + count > inbox.max_count
        too_big = worker.backlog and worker.backlog_bytes + sizes[worker] > inbox.max_bytes
        if worker.is_full() or too_many or too_big:
            if worker.no == OUTBOX:
                raise InboxFullError(
                    f"the outbox is full: {worker.backlog} events wait for the sidecar; nothing was"
                    " accepted, publish again later",
                    retry_after_s=FULL_RETRY_S,
                )
            raise InboxFullError(
                f"the inbox of worker {worker.name!r} is full: {worker.backlog} tasks wait"
                f" (limit {inbox.max_count}); nothing was accepted, publish again later",
                metadata={"worker": worker.name},
                retry_after_s=FULL_RETRY_S,
            )
    if core.inbox_bytes + sum(sizes.values()) > core.max_inbox_bytes:
        raise InboxFullError(
            f"all inboxes together hold {core.inbox_bytes} bytes (limit {core.max_inbox_bytes})",
            retry_after_s=FULL_RETRY_S,
        )


def _relieve(core: Core, worker: WorkerDispatch) -> None:
    """Bring an over-full inbox back to its limit, at the cost of its own tasks."""
    inbox, limit = worker.inbox, worker.spec.inbox
    while inbox.count > limit.max_count or inbox.size_bytes > limit.max_bytes:
        oldest = limit.on_full == "drop-oldest"
        task = inbox.oldest() if oldest else inbox.newest()
        if task is None or not inbox.claim(task):
            return
        worker.counts["overflowed"] += 1
        failure = words.Failure("InboxFull", f"more than {limit.max_count} tasks waited")
        status = TaskStatus.SKIPPED if oldest else TaskStatus.FAILED
        finish.end(core, worker, task, status, reason=words.INBOX_OVERFLOW, failure=failure)
