"""What is in memory of an open task: the event once, and one small object per delivery.

These objects are made per event on the hot path, so they are slotted, mutable and hold only what
dispatch needs. Everything that few tasks have (retries, ordering keys) starts at its empty value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgpack

if TYPE_CHECKING:
    from workmanager.model.event import Attributes

DELIVERY_BITS = 16  # a segment holds at most 2**16 deliveries
MAX_DELIVERIES = 1 << DELIVERY_BITS


class StoredEvent:
    """An accepted event: topic, wire form, and its attributes for routing and outputs."""

    __slots__ = ("attributes", "topic", "wire")

    def __init__(self, topic: str, wire: bytes, attributes: Attributes | None = None) -> None:
        self.topic = topic
        self.wire = wire
        if attributes is not None:
            self.attributes = attributes

    def __getattr__(self, name: str) -> Attributes:
        """Decode the attributes at their first use after a recovery; never called again then."""
        if name != "attributes":
            raise AttributeError(name)
        attributes: Attributes = msgpack.unpackb(self.wire, raw=False)[0]
        self.attributes = attributes
        return attributes


class Segment:
    """The progress of the deliveries accepted in one commit: one byte each, 1 = settled."""

    __slots__ = ("done", "id", "open")

    def __init__(self, segment_id: int, done: bytearray) -> None:
        self.id = segment_id
        self.done = done
        self.open = done.count(0)


class Task:
    """One event to be handled by one worker, from acceptance until it is settled."""

    __slots__ = (
        "accepted_at",
        "asked_version",
        "attempt",
        "canceled",
        "crashes",
        "due_at",
        "error",
        "event",
        "fence",
        "has_row",
        "key",
        "number",
        "segment",
        "single_shot",
        "waiter",
        "worker_no",
    )

    def __init__(
        self, event: StoredEvent, segment: Segment, number: int, worker_no: int, accepted_at: float
    ) -> None:
        self.event = event
        self.segment = segment
        self.number = number
        self.worker_no = worker_no
        self.accepted_at = accepted_at  # unix seconds
        self.attempt = 0  # attempts used up; the running one is attempt + 1
        self.crashes = 0
        self.due_at = 0.0  # unix seconds; not before
        self.key: str | None = None  # ordering key while the worker orders by key
        self.error: tuple[str, str, str] | None = None  # type, message, traceback of the last try
        self.has_row = False  # a retry_state row exists
        self.canceled = False
        self.single_shot = False  # synchronous invoke: one attempt, no dead letter
        self.waiter: Waiter | None = None
        self.fence: int | None = None
        self.asked_version = ""

    @property
    def id(self) -> str:
        """The task's id as the API shows it; a dry run has none, it leaves no trace."""
        return f"{self.number:x}" if self.number > 0 else "dry-run"

    @property
    def size_bytes(self) -> int:
        """What the task weighs in its inbox."""
        return len(self.event.wire)


class Waiter:
    """Somebody waits for a task's outcome (synchronous invoke)."""

    __slots__ = ("callback",)

    def __init__(self, callback: OutcomeCallback) -> None:
        self.callback = callback


if TYPE_CHECKING:
    from collections.abc import Callable

    from workmanager.dispatch.outcome import Settled

    OutcomeCallback = Callable[[Settled], None]
