"""The rows of the cold tables as values; field order is column order."""

from __future__ import annotations

from dataclasses import dataclass, field

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as it was declared. Times are unix seconds.

    Attributes:
        no: Its number in deliveries and history; never reused.
        current_version: Id of the current version; empty while there is none.
        deleted_at: When its deletion was asked for; None unless it is being deleted.
        stamp: Which record of the shared registry this is; empty where there is none.
    """

    no: int
    uid: str
    name: str
    spec: Json
    desired_state: str
    generation: int
    etag: str
    created_at: float
    updated_at: float
    labels: Json = field(default_factory=dict)
    annotations: Json = field(default_factory=dict)
    current_version: str = ""
    dead_letter_retention_s: float = 14 * 86_400.0
    deleted_at: float | None = None
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """An immutable version of a worker; *id* is unique within the worker."""

    worker_no: int
    id: str
    digest: str
    code_digest: str
    engine: str
    handler: str
    spec: Json
    state: str
    size_bytes: int
    created_at: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class RetryRow:
    """What an open task has been through; a task without one has not been tried.

    Attributes:
        attempts: Attempts used up.
        due_at: Not before, unix seconds.
        fence: Fencing token of its last attempt; None where no lease was held.
        target_version: Version it was redriven to; empty for the current one.
    """

    task_number: int
    worker_no: int
    attempts: int
    crashes: int = 0
    due_at: float = 0.0
    error_type: str = ""
    error_message: str = ""
    error_traceback: str = ""
    fence: int | None = None
    target_version: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A task that was given up, with its event."""

    id: str
    worker_no: int
    task_number: int
    topic: str
    reason: str
    accepted_at: float
    failed_at: float
    event_id: str
    event_type: str
    event_source: str
    wire: bytes
    attempts: int = 0
    crashes: int = 0
    version: str = ""
    error_type: str = ""
    error_message: str = ""
    error_traceback: str = ""


@dataclass(frozen=True, slots=True)
class OperationRow:
    """A verb that takes long. *request* is what is needed to go on with it after a restart."""

    id: str
    kind: str
    target: str
    created_at: float
    done: bool = False
    ended_at: float | None = None
    progress: str = ""
    request: Json = field(default_factory=dict)
    result: Json | None = None
    error: Json | None = None


@dataclass(frozen=True, slots=True)
class ApplicationRow:
    """A program that may call; *grants* holds what it may do, see `model.access`."""

    name: str
    description: str
    grants: list[Json]
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class AccessKeyRow:
    """A key of an application: what knows its secret again, not the secret."""

    id: str
    application: str
    description: str
    salt: bytes
    digest: bytes
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A call that changed something, or was refused; the store gives the id."""

    at: float
    principal: str
    action: str
    target: str
    outcome: str
    reason: str = ""
    id: int = 0


@dataclass(frozen=True, slots=True)
class IdempotencyRow:
    """The answer to a request that carried an idempotency key."""

    key: str
    body_digest: str
    status: int
    response: bytes
    created_at: float
