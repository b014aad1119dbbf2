"""Errors as RFC 9457 problem documents: one shape for every refusal, never a traceback.

problem = {type, title, status, detail, instance, code, reason, metadata, errors, retryAfterMs}

`reason` is the stable word of `workmanager.errors.Reason`, `code` its gRPC status name, so both
APIs tell the same story. `errors` lists every fault of an input with its path.
"""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from workmanager.errors import Fault, InvalidArgumentError, Reason, WorkManagerError
from workmanager.model.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:workmanager:problem:"
MAX_DETAIL_CHARS = 8 * 1024  # a detail may quote the caller's input; an answer stays small
MAX_FAULTS = 200  # a batch of 50,000 bad events is explained by its first faults

log = structlog.get_logger(__name__)


class ProblemFault(Resource):
    """One thing wrong with the input."""

    pointer: str = Field(description="Where: a JSON pointer or a dotted path; empty for the whole.")
    detail: str


class Problem(Resource):
    """Why a call was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str = Field(description="Name of the gRPC status code.")
    reason: str = Field(description="Stable reason; see the table of reasons in the reference.")
    metadata: dict[str, str] = Field(default_factory=dict)
    errors: list[ProblemFault] = Field(default_factory=list)
    retry_after_ms: int | None = None


class HttpProblemError(WorkManagerError):
    """A refusal whose HTTP status is finer than its reason's (408, 415 on a code upload)."""

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        status: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason)
        self.status = status
        self.headers = dict(headers or {})


def problem_response(exc: Exception, *, instance: str = "") -> Response:
    """Answer *exc*; what is not one of our refusals is logged and answered as INTERNAL."""
    error = as_error(exc)
    if error is None:
        error, instance = _internal(exc)
    body = problem_document(error, instance=instance)
    return Response(
        json.dumps(body).encode(),  # ASCII escapes: a detail may quote text that is no valid UTF-8
        status_code=status_of(error),
        headers=_headers(error),
        media_type=MEDIA_TYPE,
    )


def problem_document(error: WorkManagerError, *, instance: str = "") -> dict[str, object]:
    """Build the problem document of *error*; *instance* is the URI of this occurrence."""
    document: dict[str, object] = {
        "type": f"{TYPE_PREFIX}{error.reason.name}",
        "title": error.reason.name.replace("_", " ").capitalize(),
        "status": status_of(error),
        "detail": str(error)[:MAX_DETAIL_CHARS],
        "instance": instance,
        "code": error.reason.grpc_code,
        "reason": error.reason.name,
        "metadata": error.metadata,
        "errors": _faults(error.faults),
    }
    if error.retry_after_s is not None:
        document["retryAfterMs"] = math.ceil(error.retry_after_s * 1000)
    return document


def status_of(error: WorkManagerError) -> int:
    """Return the HTTP status of *error*."""
    return error.status if isinstance(error, HttpProblemError) else error.reason.status


def as_error(exc: BaseException) -> WorkManagerError | None:
    """Turn an exception of ours or of the framework into a refusal; None where it is neither."""
    if isinstance(exc, WorkManagerError):
        return exc
    if isinstance(exc, RequestValidationError):
        return _of_validation(exc)
    if isinstance(exc, HTTPException):
        return _of_http(exc)
    if isinstance(exc, ClientDisconnect):
        return InvalidArgumentError("the request ended before its body was complete")
    if isinstance(exc, BaseExceptionGroup):
        errors = [as_error(inner) for inner in exc.exceptions]
        return errors[0] if all(error is not None for error in errors) else None
    return None


def _internal(exc: Exception) -> tuple[WorkManagerError, str]:
    occurrence = f"urn:uuid:{uuid4()}"
    log.error("request_failed", occurrence=occurrence, exc_info=exc)
    error = WorkManagerError(
        f"the service failed on this request; its log has the cause under {occurrence}"
    )
    return error, occurrence


def _of_validation(exc: RequestValidationError) -> WorkManagerError:
    faults = [
        Fault(".".join(str(part) for part in fault["loc"]), str(fault["msg"]))
        for fault in exc.errors()
    ]
    first = faults[0]
    return InvalidArgumentError(f"{first.pointer}: {first.detail}", faults=faults)


_HTTP_REASONS = {
    400: Reason.INVALID_ARGUMENT,
    401: Reason.UNAUTHENTICATED,
    403: Reason.PERMISSION_DENIED,
    404: Reason.NOT_FOUND,
    405: Reason.METHOD_NOT_ALLOWED,
    413: Reason.PAYLOAD_TOO_LARGE,
    415: Reason.UNSUPPORTED_MEDIA_TYPE,
}


def _of_http(exc: HTTPException) -> WorkManagerError:
    fallback = Reason.INVALID_ARGUMENT if exc.status_code < 500 else Reason.INTERNAL
    return HttpProblemError(
        _HTTP_DETAILS.get(exc.status_code) or exc.detail or HTTPStatus(exc.status_code).phrase,
        reason=_HTTP_REASONS.get(exc.status_code, fallback),
        status=exc.status_code,
        headers=exc.headers,
    )


_HTTP_DETAILS = {
    404: "no such path; GET /openapi.json lists them all",
    405: "this path does not take that method; see the Allow header",
}


def _headers(error: WorkManagerError) -> dict[str, str]:
    headers = dict(error.headers) if isinstance(error, HttpProblemError) else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.reason is Reason.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="workmanager"'
    return headers


def _faults(faults: Sequence[Fault]) -> list[dict[str, str]]:
    listed = [{"pointer": f.pointer, "detail": f.detail} for f in faults[:MAX_FAULTS]]
    if len(faults) > MAX_FAULTS:
        listed.append({"pointer": "", "detail": f"and {len(faults) - MAX_FAULTS} more"})
    return listed
