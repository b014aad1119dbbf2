"""What the parts of dispatch share: the ledger, the timers, the broker and the workers.

One object owned by the trio loop. The parts are modules of functions over it, by their place on
the way of an event: `intake` -> `handout` -> `outcomes` (or `losses`) -> `finish`.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from workmanager.store import statements

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workmanager.brokers.embedded import EmbeddedBroker
    from workmanager.dispatch.ledger import Ledger
    from workmanager.dispatch.timers import Timers
    from workmanager.dispatch.watching import Observer
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor
    from workmanager.groups.cluster import Cluster
    from workmanager.groups.local import HostLock
    from workmanager.telemetry.tracing import Tracer

WEIGH_S = 0.5
LEASE_KEY = "lease:"  # of locks across hosts, in the store's meta table
MAX_EVENT_BYTES = 8 * 1024 * 1024  # half of what a frame to an executor may hold


class Router(Protocol):
    """Says who gets an event."""

    def fixed(self, topic: str) -> Sequence[WorkerDispatch] | None:
        """Return whom every event on *topic* goes to; None: ask `route` for each."""

    def route(self, topic: str, attributes: Mapping[str, object]) -> Sequence[WorkerDispatch]:
        """Return whom this event goes to."""


@dataclass(slots=True)
class Core:
    """The state of dispatch.

    Attributes:
        broker: Knows the workers of this host that consume a topic.
        exit: Where what is published here goes: to them, or out by `dispatch.outbox`.
        workers: By worker number.
        locks: By group name.
        fences: The highest fencing token that is reserved, by group name.
        cluster: What groups use that reach across hosts.
        rng: For jitter; a seed makes tests repeatable.
        note: Takes a line about a worker for its log.
        publish_max_bytes: What an event may weigh to be published.
        max_inbox_bytes: What all inboxes together may weigh before intake is refused.
        now: Unix seconds of the batch of outcomes at work; one look at the clock serves all.
        inbox_bytes: What they weigh, as of the last tick of `Core.weigh`.
        watch: Who is told of changes; None while nobody watches.
        tracer: Who follows traced tasks; None while traces go nowhere.
    """

    ledger: Ledger
    timers: Timers
    broker: EmbeddedBroker
    note: Callable[[WorkerDispatch, Executor | None, str, str, str, str], None]
    cluster: Cluster
    workers: dict[int, WorkerDispatch] = field(default_factory=dict)
    locks: dict[str, HostLock] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)
    rng: random.Random = field(default_factory=random.Random)
    counts: Counter[str] = field(default_factory=Counter)
    publish_max_bytes: int = MAX_EVENT_BYTES
    max_inbox_bytes: int = 2 * 2**30
    inbox_bytes: int = 0
    now: float = 0.0
    is_stopping: bool = False
    watch: Observer | None = None
    tracer: Tracer | None = None
    exit: Router = field(init=False)

    def __post_init__(self) -> None:
        self.exit = self.broker

    def weigh(self) -> None:
        """Add up the inboxes; every half second, since a sum per publish would cost its callers."""
        self.inbox_bytes = sum(worker.backlog_bytes for worker in self.workers.values())
        self.timers.after(WEIGH_S, self.weigh)

    def reserve_tokens(self, group: str, ceiling: int, then: Callable[[], None]) -> None:
        """Write a group's upper bound of fencing tokens; call *then* once it is durable."""
        self.note_token(group, ceiling)
        self.ledger.after_commit(then)
        self.ledger.flush()

    def highest_token(self, group: str) -> int:
        """Return the highest fencing token that is known of a group."""
        return self.fences.get(group, 0)

    def note_held(self, owner: str, resource: str) -> None:
        """Remember under whose name a lock across hosts is held."""
        self.ledger.write(statements.put_meta(LEASE_KEY + owner, resource))

    def note_freed(self, owner: str) -> None:
        """Forget it."""
        self.ledger.write(statements.delete_meta(LEASE_KEY + owner))

    def note_token(self, group: str, token: int) -> None:
        """Remember that a group's fencing tokens have come up to *token*."""
        self.fences[group] = max(token, self.fences.get(group, 0))
        self.ledger.write(statements.put_fence(group, token))
