"""Every error a caller can meet: one base class, one closed table of reasons.

A reason is part of the API: REST answers it with an HTTP status, gRPC with a status code, the
command line with an exit code. The facts of one failure are attributes; the message is built from
them and names what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self


class Reason(Enum):
    """Why a call was refused: `(HTTP status, gRPC status name)` per reason (features: stable)."""

    INVALID_ARGUMENT = (400, "INVALID_ARGUMENT")
    MALFORMED_EVENT = (400, "INVALID_ARGUMENT")
    ENGINE_NOT_FOUND = (400, "INVALID_ARGUMENT")
    INVALID_PAGE_TOKEN = (400, "INVALID_ARGUMENT")
    UNAUTHENTICATED = (401, "UNAUTHENTICATED")
    PERMISSION_DENIED = (403, "PERMISSION_DENIED")
    NOT_FOUND = (404, "NOT_FOUND")
    WORKER_NOT_FOUND = (404, "NOT_FOUND")
    VERSION_NOT_FOUND = (404, "NOT_FOUND")
    TASK_NOT_FOUND = (404, "NOT_FOUND")
    DEAD_LETTER_NOT_FOUND = (404, "NOT_FOUND")
    GROUP_NOT_FOUND = (404, "NOT_FOUND")
    OPERATION_NOT_FOUND = (404, "NOT_FOUND")
    METHOD_NOT_ALLOWED = (405, "UNIMPLEMENTED")
    WORKER_EXISTS = (409, "ALREADY_EXISTS")
    INVALID_STATE = (409, "FAILED_PRECONDITION")
    LEASE_LOST = (409, "ABORTED")
    IDEMPOTENCY_KEY_IN_USE = (409, "ABORTED")
    RESUME_TOKEN_EXPIRED = (410, "OUT_OF_RANGE")
    ETAG_MISMATCH = (412, "ABORTED")
    PAYLOAD_TOO_LARGE = (413, "OUT_OF_RANGE")
    UNSUPPORTED_MEDIA_TYPE = (415, "INVALID_ARGUMENT")
    CODE_FETCH_FAILED = (422, "FAILED_PRECONDITION")
    DIGEST_MISMATCH = (422, "FAILED_PRECONDITION")
    BUILD_FAILED = (422, "FAILED_PRECONDITION")
    HANDLER_NOT_FOUND = (422, "FAILED_PRECONDITION")
    ENGINE_UNAVAILABLE = (422, "FAILED_PRECONDITION")
    IDEMPOTENCY_KEY_REUSED = (422, "FAILED_PRECONDITION")
    WORKER_ERROR = (422, "FAILED_PRECONDITION")
    INBOX_FULL = (429, "RESOURCE_EXHAUSTED")
    QUOTA_EXCEEDED = (429, "RESOURCE_EXHAUSTED")
    SLOW_READER = (429, "RESOURCE_EXHAUSTED")
    INTERNAL = (500, "INTERNAL")
    STORE_UNAVAILABLE = (503, "UNAVAILABLE")
    BROKER_UNAVAILABLE = (503, "UNAVAILABLE")
    SHUTTING_DOWN = (503, "UNAVAILABLE")
    TASK_TIMEOUT = (504, "DEADLINE_EXCEEDED")

    def __new__(cls, status: int, grpc_code: str) -> Self:
        """Give each member its own value: many reasons share a status and must stay distinct."""
        member = object.__new__(cls)
        member._value_ = len(cls.__members__)
        member._status = status
        member._grpc_code = grpc_code
        return member

    _status: int
    _grpc_code: str

    @property
    def status(self) -> int:
        """HTTP status of this reason."""
        return self._status

    @property
    def grpc_code(self) -> str:
        """Name of the gRPC status code of this reason."""
        return self._grpc_code


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: *pointer* is its JSON pointer or dotted path, *detail* why."""

    pointer: str
    detail: str


class WorkManagerError(Exception):
    """Base of all errors that a caller of the service can meet.

    Attributes:
        reason: The stable reason.
        metadata: Facts as short strings, safe to show to the caller.
        faults: Every fault of the input, where the input is at fault.
        retry_after_s: Seconds after which the same call may succeed; None where it will not.
    """

    reason = Reason.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        metadata: Mapping[str, str] | None = None,
        faults: Sequence[Fault] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        self.metadata = dict(metadata or {})
        self.faults = tuple(faults)
        self.retry_after_s = retry_after_s


class InvalidArgumentError(WorkManagerError):
    """The input is malformed; `faults` lists all that is wrong with it. Mend it and call again."""

    reason = Reason.INVALID_ARGUMENT


class ManifestError(InvalidArgumentError):
    """A worker manifest has faults; each is listed with its path."""


class NotFoundError(WorkManagerError):
    """The named thing does not exist; list the collection to see what does."""

    reason = Reason.NOT_FOUND


class ConflictError(WorkManagerError):
    """The thing is in a state that forbids the call, or has changed since it was read."""

    reason = Reason.INVALID_STATE


class CodeError(WorkManagerError):
    """Code could not be fetched, built or loaded; the version is refused, nothing else changed."""

    reason = Reason.BUILD_FAILED


class WorkerFailedError(WorkManagerError):
    """User code raised in a synchronous invoke; `metadata` has its type, message and traceback."""

    reason = Reason.WORKER_ERROR


class TaskTimeoutError(WorkManagerError):
    """A synchronous invoke did not settle in time; the task itself may still finish."""

    reason = Reason.TASK_TIMEOUT


class InboxFullError(WorkManagerError):
    """An inbox is at its limit; nothing was accepted. Publish again after `retry_after_s`."""

    reason = Reason.INBOX_FULL


class ResumeTokenError(WorkManagerError):
    """What happened since a watch's token is forgotten; list again and watch without a token."""

    reason = Reason.RESUME_TOKEN_EXPIRED


class SlowReaderError(WorkManagerError):
    """A stream was cut because its client did not keep up; resume it, and read faster."""

    reason = Reason.SLOW_READER


class IsolationError(WorkManagerError):
    """A layer of the sandbox is asked for and cannot be had; the message says how to get it.

    Attributes:
        layer: Which one.
    """

    reason = Reason.ENGINE_UNAVAILABLE

    def __init__(
        self,
        message: str,
        *,
        layer: str = "",
        reason: Reason | None = None,
        metadata: Mapping[str, str] | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        facts = {**({"layer": layer} if layer else {}), **(metadata or {})}
        super().__init__(message, reason=reason, metadata=facts, faults=faults)
        self.layer = facts.get("layer", "")


class StoreError(WorkManagerError):
    """The store cannot take writes now (disk full, I/O error); nothing was accepted."""

    reason = Reason.STORE_UNAVAILABLE


class SidecarError(WorkManagerError):
    """A call to the Dapr sidecar failed; what needs it waits or is refused, and heals by itself.

    Attributes:
        code: gRPC's status, such as `UNAVAILABLE` or `ABORTED` (an etag that did not match).
    """

    reason = Reason.BROKER_UNAVAILABLE

    def __init__(self, message: str, *, code: str, retry_after_s: float | None = 1.0) -> None:
        super().__init__(
            f"the sidecar: {message}", metadata={"code": code}, retry_after_s=retry_after_s
        )
        self.code = code

    @property
    def is_absence(self) -> bool:
        """Whether the sidecar was not reached, or did not answer in time."""
        return self.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


class StateFolderError(WorkManagerError):
    """The state folder cannot be used at all (locked, read-only, newer schema); start refused."""

    reason = Reason.STORE_UNAVAILABLE


class AuthenticationError(WorkManagerError):
    """No or wrong credentials."""

    reason = Reason.UNAUTHENTICATED
