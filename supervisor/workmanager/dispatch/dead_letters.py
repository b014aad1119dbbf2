"""Tasks that are given up: kept in the store, and published where their worker says.

The copy in the store is the truth: it is what is shown, redriven and purged. What goes to
`deadLetter.topic` is the event itself with attributes that tell what became of it, for a worker
that raises an alarm or tries another way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from workmanager.dispatch.outcome import Failure
from workmanager.dispatch.routing import offer
from workmanager.dispatch.task import StoredEvent
from workmanager.model.event import Event, now_text
from workmanager.store.rows import DeadLetterRow

if TYPE_CHECKING:
    from workmanager.dispatch.core import Core
    from workmanager.dispatch.task import Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor

MAX_TEXT_CHARS = 1024  # of an error in an attribute

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")  # CloudEvents allows none in attributes


def keep(
    core: Core,
    worker: WorkerDispatch,
    task: Task,
    reason: str,
    failure: Failure | None,
    executor: Executor | None,
    now: float,
) -> None:
    """Keep *task* as a dead letter, and publish it if its worker has a topic for that."""
    worker.counts["dead_lettered"] += 1
    worker.dead_letters += 1
    attributes = task.event.attributes
    failure = failure or Failure(reason, "")
    row = DeadLetterRow(
        id=task.id,
        worker_no=worker.no,
        task_number=task.number,
        topic=task.event.topic,
        reason=reason,
        accepted_at=task.accepted_at,
        failed_at=now,
        event_id=str(attributes["id"]),
        event_type=str(attributes["type"]),
        event_source=str(attributes["source"]),
        wire=task.event.wire,
        attempts=task.attempt,
        crashes=task.crashes,
        version=executor.version if executor else worker.version,
        error_type=failure.type,
        error_message=failure.message,
        error_traceback=failure.traceback,
    )
    core.ledger.put_dead_letter(row)
    # One that fails at whoever took it as a dead letter goes no further: topics may form a ring.
    if worker.spec.dead_letter.topic and "wmreason" not in attributes:
        _publish(core, worker, row)


def _publish(core: Core, worker: WorkerDispatch, row: DeadLetterRow) -> None:
    """Offer the event as it came, with the facts of its end.

    It keeps its id, so two workers that gave up the same event offer the same id twice; consumers
    get both: each is offered once only, in the commit that ends its task.
    """
    event = Event.unpack(row.wire)
    event.attributes.update(
        wmworker=worker.name,
        wmversion=row.version,
        wmtask=row.id,
        wmreason=row.reason,
        wmerrortype=_line(row.error_type),
        wmerrormessage=_line(row.error_message),
        wmattempts=row.attempts,
        wmcrashes=row.crashes,
        wmfailedtime=now_text(),
    )
    stored = StoredEvent(worker.spec.dead_letter.topic, event.pack(), event.attributes)
    offer(core, stored, producer=worker, dedupe=False)


def _line(text: str) -> str:
    return _CONTROL.sub(" ", text)[:MAX_TEXT_CHARS]
