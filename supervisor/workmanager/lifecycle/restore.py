"""What a start puts back: the open tasks of the store, and the events that workers have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.dispatch import intake
from workmanager.dispatch.outbox import bring_home
from workmanager.dispatch.task import Segment, StoredEvent, Task
from workmanager.policy.dedupe import split_keys
from workmanager.store.commit import OUTBOX

if TYPE_CHECKING:
    from workmanager.dispatch.core import Core
    from workmanager.store.recovery import Recovered


def restore_tasks(core: Core, recovered: Recovered) -> int:
    """Put every open task into its worker's inbox; returns how many there were.

    What waits in an outbox that this start has no use for goes to the workers of this host.
    """
    restored = 0
    abroad: list[Task] = []
    for found in recovered.segments:
        segment = Segment(found.id, bytearray(found.done))
        index = 0
        for topic, numbers, wire in found.events:
            event = StoredEvent(topic, wire)
            for number in numbers:
                if not found.done[index]:
                    task = Task(event, segment, found.id << 16 | index, number, found.accepted_at)
                    if number == OUTBOX and number not in core.workers:
                        abroad.append(task)
                    else:
                        restored += _restore_task(core, task, recovered)
                index += 1
    bring_home(core, abroad)
    return restored


def restore_dedupe(core: Core, recovered: Recovered) -> None:
    """Let the workers know again what they had within their windows."""
    for at, number, keys in recovered.dedupe:
        worker = core.workers.get(number)
        if worker is not None and worker.dedupe is not None:
            worker.dedupe.load(split_keys(keys), at)


def _restore_task(core: Core, task: Task, recovered: Recovered) -> int:
    worker = core.workers.get(task.worker_no)
    row = recovered.retries.get(task.number)
    if row is not None:
        task.has_row = True
        task.attempt, task.crashes, task.due_at = row.attempts, row.crashes, row.due_at
        task.error = (row.error_type, row.error_message, "")
        task.asked_version = row.target_version
    if worker is None:
        intake.drop(core, (task,))
        return 0
    if task.asked_version and task.asked_version != worker.version:
        worker.side(task.asked_version).restore(task)
        worker.on_demand(task.asked_version)
    else:
        worker.inbox.restore(task)
    return 1
