"""From a broker outside to inboxes: what it delivered is accepted, whatever the limits say.

Whoever publishes by a call can be refused; a delivery cannot, it can only be left unanswered. So
the broker looks at `is_full` and stops listening in time. An event that is malformed becomes a dead
letter of the workers it would have gone to: it is answered for, and nobody else would keep it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from workmanager.dispatch import finish
from workmanager.dispatch import outcome as words
from workmanager.dispatch.core import MAX_EVENT_BYTES
from workmanager.dispatch.routing import accept_for
from workmanager.dispatch.task import StoredEvent
from workmanager.groups.claims import claim_key
from workmanager.model.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from workmanager.brokers.dapr.ingress import Delivery
    from workmanager.dispatch.core import Core
    from workmanager.dispatch.ledger import Ticket
    from workmanager.dispatch.worker import WorkerDispatch

DEAD = "wmreason"  # the attribute of a dead letter, which keeps the id of the event it was

log = structlog.get_logger()


class Inboxes:
    """What a broker sees of the workers of this host."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def topics(self) -> Collection[str]:
        """Return the topics that this host has workers for."""
        return self._core.broker.topics()

    def claims_of(self, delivery: Delivery) -> list[str]:
        """Return the keys of what the groups of a delivery's topic must claim of it; mostly none.

        A dead letter is not claimed: it has the id of its event, and may come of several workers.
        """
        groups = self._core.broker.claiming(delivery.topic)
        if not groups or delivery.error is not None or DEAD in delivery.event.attributes:
            return []
        event = delivery.event
        return [claim_key(group, delivery.topic, event.source, event.id) for group in groups]

    def take_in(self, deliveries: Iterable[Delivery], lost: Collection[str] = ()) -> list[Ticket]:
        """Accept *deliveries*; they may be answered for once the returned tickets are durable.

        Args:
            lost: Claims that others have: their groups do not get these events here.

        Raises:
            StoreError: The store refuses writes; none was accepted.
        """
        core = self._core
        core.ledger.check()
        core.now = time.time()
        refused = False
        for delivery in deliveries:
            event, error = delivery.event, delivery.error
            stored = StoredEvent(delivery.topic, event.pack(), event.attributes)
            size = len(stored.wire)
            if error is None and size > MAX_EVENT_BYTES:
                error = ValueError(f"{size} bytes; at most {MAX_EVENT_BYTES} are allowed")
            if error is None:
                _accept(core, stored, lost)
            else:
                refused = True
                _refuse(core, stored, error)
        tickets = core.ledger.intake_tickets()
        if refused:
            tickets.append(core.ledger.outcome_ticket())
        core.ledger.flush()
        return tickets

    def full_ones(self, topic: str) -> list[WorkerDispatch]:
        """Return the consumers of *topic* that are at their limit and let their source wait."""
        return [
            worker
            for worker in self._core.broker.workers(topic)
            if worker.spec.inbox.on_full == "pause" and worker.is_full()
        ]

    def overfull(self) -> str:
        """Say why nothing at all can be taken in; empty where it can."""
        core = self._core
        if core.ledger.error is not None:
            return f"the store refuses writes: {core.ledger.error}"
        return "all inboxes together are full" if core.inbox_bytes > core.max_inbox_bytes else ""


def _accept(core: Core, stored: StoredEvent, lost: Collection[str]) -> None:
    targets = core.broker.route(stored.topic, stored.attributes)
    if lost:
        targets = [worker for worker in targets if not _is_lost(worker, stored, lost)]
    if not targets:
        core.counts["unrouted"] += 1
        return
    # Two workers may have given up the same event, and each of its dead letters counts.
    dedupe = DEAD not in stored.attributes
    accept_for(core, stored, targets, now=core.now, external=True, dedupe=dedupe)


def _is_lost(worker: WorkerDispatch, stored: StoredEvent, lost: Collection[str]) -> bool:
    group, attributes = worker.spec.group, stored.attributes
    if group is None or not group.is_claiming:
        return False
    source, event_id = str(attributes["source"]), str(attributes["id"])
    return claim_key(group.name, stored.topic, source, event_id) in lost


def _refuse(core: Core, stored: StoredEvent, error: Exception) -> None:
    consumers = core.broker.workers(stored.topic)
    log.warning("event_malformed", topic=stored.topic, error=str(error), workers=len(consumers))
    failure = words.Failure("MalformedEvent", str(error))
    for worker in consumers:
        task = core.ledger.accept_ended(stored, worker.no)
        worker.inbox.add((task,))
        worker.inbox.claim(task)
        finish.end(core, worker, task, TaskStatus.FAILED, reason=words.MALFORMED, failure=failure)
