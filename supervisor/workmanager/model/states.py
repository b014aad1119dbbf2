"""States and the transitions between them: worker, version, task, executor."""

from __future__ import annotations

from enum import StrEnum


class DesiredState(StrEnum):
    """What the operator asks of a worker."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"


class WorkerState(StrEnum):
    """What is observed of a worker."""

    PENDING = "PENDING"
    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DRAINING = "DRAINING"
    BACKOFF = "BACKOFF"
    FAILED = "FAILED"
    DELETING = "DELETING"


class VersionState(StrEnum):
    """Life of a version; exactly one per worker is CURRENT."""

    BUILDING = "BUILDING"
    INACTIVE = "INACTIVE"
    CURRENT = "CURRENT"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"
    REJECTED = "REJECTED"


class TaskStatus(StrEnum):
    """Conductor's nine task status words."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
    FAILED = "FAILED"
    FAILED_WITH_TERMINAL_ERROR = "FAILED_WITH_TERMINAL_ERROR"
    TIMED_OUT = "TIMED_OUT"
    CANCELED = "CANCELED"
    SKIPPED = "SKIPPED"


class ExecutorState(StrEnum):
    """Life of an executor process."""

    STARTING = "STARTING"
    READY = "READY"
    DRAINING = "DRAINING"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    UNKILLABLE = "UNKILLABLE"


TERMINAL_TASK_STATUSES = frozenset(TaskStatus) - {TaskStatus.SCHEDULED, TaskStatus.IN_PROGRESS}

_S = WorkerState
WORKER_TRANSITIONS: dict[WorkerState, frozenset[WorkerState]] = {
    _S.PENDING: frozenset({_S.STOPPED, _S.STARTING, _S.FAILED, _S.DELETING}),
    _S.STOPPED: frozenset({_S.STARTING, _S.DELETING}),
    _S.STARTING: frozenset(
        {_S.RUNNING, _S.PAUSED, _S.BACKOFF, _S.FAILED, _S.DRAINING, _S.STOPPED, _S.DELETING}
    ),
    _S.RUNNING: frozenset(
        {_S.PAUSED, _S.STARTING, _S.DRAINING, _S.BACKOFF, _S.FAILED, _S.DELETING}
    ),
    _S.PAUSED: frozenset(
        {_S.RUNNING, _S.STARTING, _S.DRAINING, _S.BACKOFF, _S.FAILED, _S.DELETING}
    ),
    _S.DRAINING: frozenset({_S.STOPPED, _S.STARTING, _S.DELETING}),
    _S.BACKOFF: frozenset({_S.STARTING, _S.FAILED, _S.STOPPED, _S.DRAINING, _S.DELETING}),
    _S.FAILED: frozenset({_S.STARTING, _S.STOPPED, _S.DELETING}),
    _S.DELETING: frozenset(),
}


def can_move(old: WorkerState, new: WorkerState) -> bool:
    """Tell whether a worker may go from *old* to *new*; staying is always allowed."""
    return old == new or new in WORKER_TRANSITIONS[old]
