"""What can go wrong with a call: the service refused it, or it never got an answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workmanager.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DETAIL_CHARS = 500  # of an answer that is no problem+json: a proxy's page, for one


class ClientError(Exception):
    """Base of everything a client raises."""


class NoSupervisorError(ClientError):
    """Nothing listens at the target, or it may not be opened; nothing was sent.

    Attributes:
        target: Where the call went.
        may_pass: Whether a moment later may be better: a service that restarts is away for one, a
            wrong certificate stays wrong.
    """

    def __init__(self, target: str, cause: str, *, may_pass: bool = False) -> None:
        super().__init__(f"no supervisor answers at {target}: {cause}")
        self.target = target
        self.may_pass = may_pass


class ConnectionLostError(ClientError):
    """The connection ended before the answer was whole; the call may or may not have been done."""

    def __init__(self, target: str, cause: str) -> None:
        super().__init__(f"the connection to {target} was lost before the answer: {cause}")
        self.target = target


class ClientTimeoutError(ClientError):
    """No answer within the time limit; the call may still be done.

    Attributes:
        timeout_s: The limit, in seconds.
    """

    def __init__(self, target: str, timeout_s: float) -> None:
        super().__init__(f"no answer from {target} within {timeout_s:g} s")
        self.target = target
        self.timeout_s = timeout_s


class RequestHeaderError(ClientError):
    """A header would hold a line end or the like (a media type, a token); nothing was sent."""


class ProblemError(ClientError):
    """The service refused the call (RFC 9457 problem).

    Attributes:
        reason: A name of `workmanager.errors.Reason`; text, since a newer service may know more.
        status: HTTP status.
        detail: What happened, in a sentence.
        faults: Every fault of the input, each with its path.
        metadata: Facts as short strings.
        retry_after_s: Seconds after which the same call may succeed; None where it will not.
    """

    def __init__(
        self,
        reason: str,
        status: int,
        detail: str,
        *,
        faults: tuple[Fault, ...] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.status = status
        self.detail = detail
        self.faults = faults
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s


def problem_from(status: int, headers: Mapping[str, str], body: bytes) -> ProblemError:
    """Read the problem in an answer; one that holds none (a proxy's page) becomes one all the same.

    Names in *headers* are in lower case.
    """
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        text = body[: MAX_DETAIL_CHARS * 4].decode(errors="replace").strip()
        document = {"detail": text[:MAX_DETAIL_CHARS] or "the answer is empty"}
    return problem_of(document, status=status, headers=headers)


def problem_of(
    document: Mapping[str, Any], *, status: int = 0, headers: Mapping[str, str] | None = None
) -> ProblemError:
    """Read a problem document; *status* and *headers* are those it came with, if any."""
    status = status or int(document.get("status") or 0)
    return ProblemError(
        str(document.get("reason") or f"HTTP_{status}"),
        status,
        str(document.get("detail") or document.get("title") or "no detail was given"),
        faults=_faults(document.get("errors")),
        metadata=_texts(document.get("metadata")),
        retry_after_s=_retry_after_s(document, headers or {}),
    )


def _faults(errors: object) -> tuple[Fault, ...]:
    if not isinstance(errors, list):
        return ()
    return tuple(
        Fault(str(error.get("pointer", "")), str(error.get("detail", "")))
        for error in errors
        if isinstance(error, dict)
    )


def _texts(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict):
        return {}
    return {str(name): str(value) for name, value in metadata.items()}


def _retry_after_s(document: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    after_ms = document.get("retryAfterMs")
    if isinstance(after_ms, int | float):
        return after_ms / 1000
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):  # a date: no service of ours sends one
        return None
