"""From an event and its topic to deliveries: who gets it, who has had it already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.policy.dedupe import event_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.dispatch.core import Core
    from workmanager.dispatch.ledger import Batch
    from workmanager.dispatch.task import StoredEvent, Task
    from workmanager.dispatch.worker import WorkerDispatch


def offer(
    core: Core,
    event: StoredEvent,
    *,
    producer: WorkerDispatch | None = None,
    dedupe: bool = True,
) -> int:
    """Accept an output event for every worker that consumes its topic; returns how many do.

    Outputs are never refused: the work that made them is done. A consumer whose inbox is full
    makes *producer* wait before it does more, see `WorkerDispatch.blocked_by`.
    """
    targets = core.exit.fixed(event.topic)
    if targets is None:
        targets = core.exit.route(event.topic, event.attributes)
    if not targets:
        core.counts["unrouted"] += 1
        if producer is not None:
            producer.counts["unrouted"] += 1
        return 0
    accepted, _ = accept_for(core, event, targets, now=core.now, external=False, dedupe=dedupe)
    if producer is not None:
        for target in targets:
            if target.spec.inbox.on_full == "pause" and target.is_full():
                target.blocks.add(producer)
                producer.blocked_by.add(target)
    return len(accepted)


def accept_for(
    core: Core,
    event: StoredEvent,
    targets: Sequence[WorkerDispatch],
    *,
    now: float,
    external: bool,
    dedupe: bool = True,
) -> tuple[list[Task], int]:
    """Put deliveries of *event* into the open commit; returns their tasks and the duplicates."""
    key = b""
    fresh: list[WorkerDispatch] = []
    for worker in targets:
        worker.assigned = 0
        if dedupe and worker.dedupe is not None:
            if not key:
                attributes = event.attributes
                key = event_key(str(attributes["source"]), str(attributes["id"]))
            if worker.dedupe.seen_or_add(key, now):
                worker.counts["duplicates"] += 1
                continue
        fresh.append(worker)
    if not fresh:
        return [], len(targets)
    tasks = core.ledger.accept(event, [worker.no for worker in fresh], external=external)
    size = len(event.wire)
    for worker in fresh:
        worker.pending += 1
        worker.pending_bytes += size
        if key and worker.dedupe is not None:
            core.ledger.add_dedupe(worker.no, key, external=external)
    return tasks, len(targets) - len(fresh)


def take_back(core: Core, batch: Batch) -> None:
    """Undo what accepting did in memory: the intake was refused, nothing of it was kept."""
    for number, keys in batch.dedupe.items():
        worker = core.workers.get(number)
        if worker is not None and worker.dedupe is not None:
            worker.dedupe.discard(keys)
    for task in batch.tasks:
        worker = core.workers.get(task.worker_no)
        if worker is not None:
            worker.pending -= 1
            worker.pending_bytes -= task.size_bytes
