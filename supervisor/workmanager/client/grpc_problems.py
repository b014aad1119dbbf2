"""What a failed gRPC call means: google.rpc details as the problem that REST would tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from workmanager.client.problems import (
    ClientError,
    ClientTimeoutError,
    ConnectionLostError,
    NoSupervisorError,
    ProblemError,
)
from workmanager.errors import Fault, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

DETAILS = "grpc-status-details-bin"
NOTHING_SENT = ("failed to connect", "connection refused", "no such file", "name resolution")
TLS = ("ssl", "tls", "handshak", "certificate")
LOST = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


class Failure(Protocol):
    """A failed call, as grpc raises or returns it."""

    def code(self) -> grpc.StatusCode | None:
        """Return its status."""

    def details(self) -> str | None:
        """Return what is said about it."""

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """Return what came with it."""


def problem_of_call(failure: Failure, *, target: str, timeout_s: float) -> ClientError:
    """Return what *failure* means to the caller."""
    details = failure.details() or ""
    code = failure.code() or grpc.StatusCode.UNKNOWN
    status = _status_of(failure)
    if status is not None and status.details:
        return _problem(status, code)
    if code in LOST:
        return _of_connection(details, target)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ClientTimeoutError(target, timeout_s)
    return ProblemError(f"GRPC_{code.name}", 0, details or "no detail was given")


def _of_connection(details: str, target: str) -> ClientError:
    low = details.lower()
    if any(words in low for words in NOTHING_SENT):
        return NoSupervisorError(target, details, may_pass=not any(word in low for word in TLS))
    return ConnectionLostError(target, details or "the call was cut")


def _status_of(failure: Failure) -> Status | None:
    for name, value in failure.trailing_metadata() or ():
        if name == DETAILS and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:  # not ours; the code and the text are still there
                return None
    return None


def _problem(status: Status, code: grpc.StatusCode) -> ProblemError:
    info = ErrorInfo()
    bad = BadRequest()
    retry = RetryInfo()
    for detail in status.details:
        for message in (info, bad, retry):
            detail.Unpack(message)  # leaves it alone where it is of another type
    reason = info.reason or f"GRPC_{code.name}"
    known = Reason.__members__.get(reason)
    after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return ProblemError(
        reason,
        known.status if known is not None else 0,
        status.message,
        faults=tuple(Fault(v.field, v.description) for v in bad.field_violations),
        metadata=info.metadata,
        retry_after_s=after_s if retry.HasField("retry_delay") else None,
    )
