"""How a task ended, for those who wait for it, and the words of an outcome frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.dispatch.task import StoredEvent
    from workmanager.model.states import TaskStatus

# Statuses of an outcome frame, see the executor's `outcomes`.
OK, ERROR, RETRY, NON_RETRYABLE, DROP, CANCELLED = range(6)

# Reasons of an end without success; they stand in dead letters and in `explain`.
ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"
NOT_RETRYABLE = "NON_RETRYABLE"
CRASHED = "CRASHED"
TIMED_OUT = "TIMED_OUT"
SCHEDULE_TIMEOUT = "SCHEDULE_TIMEOUT"
EXPIRED = "EXPIRED"
DROPPED = "DROPPED"
INBOX_OVERFLOW = "INBOX_OVERFLOW"
CANCELED = "CANCELED"
MALFORMED = "MALFORMED"


@dataclass(frozen=True, slots=True)
class Failure:
    """The error of an attempt: type, message and traceback, as text for people and policies."""

    type: str
    message: str
    traceback: str = ""
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of a task."""

    status: TaskStatus
    outputs: Sequence[StoredEvent] = ()
    failure: Failure | None = None
    duration_us: int = 0
