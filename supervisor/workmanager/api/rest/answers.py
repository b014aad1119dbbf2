"""Answers of the control plane, made from resources."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response

from workmanager.errors import ConflictError, InvalidArgumentError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel
    from starlette.requests import Request

    from workmanager.model.resources import ApplyResult, Operation, Worker

JSON = "application/json"


def answer(
    resource: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a resource as it stands on the wire."""
    body = resource.model_dump_json(by_alias=True)
    return Response(body, status_code=status, headers=dict(headers or {}), media_type=JSON)


def answer_worker(request: Request, worker: Worker, *, status: int = 200) -> Response:
    """Answer with a worker and its ETag; 304 where the caller has it already."""
    headers = {"ETag": f'"{worker.etag}"'}
    if status == 201:
        headers["Location"] = f"/v1/workers/{worker.name}"
    known = request.headers.get("if-none-match", "")
    if request.method == "GET" and headers["ETag"] in (part.strip() for part in known.split(",")):
        return Response(status_code=304, headers=headers)
    return answer(worker, status=status, headers=headers)


def answer_apply(result: ApplyResult) -> Response:
    """Answer an apply: 201 where it created the worker."""
    headers = {"ETag": f'"{result.worker.etag}"'}
    if result.change != "created":
        return answer(result, headers=headers)
    headers["Location"] = f"/v1/workers/{result.worker.name}"
    return answer(result, status=201, headers=headers)


def answer_operation(operation: Operation) -> Response:
    """Answer 202 with the operation that does it and where to watch it."""
    location = f"/v1/operations/{quote(operation.id, safe='')}"
    return answer(operation, status=202, headers={"Location": location})


def if_match(request: Request) -> str | None:
    """Return the etag that If-Match asks for; None where it asks for none.

    Raises:
        InvalidArgumentError: It lists several: a worker has one.
    """
    text = request.headers.get("if-match", "").strip()
    if text in ("", "*"):
        return None
    if "," in text:
        raise InvalidArgumentError("If-Match: give one etag")
    return text.removeprefix("W/").strip('"')


def refuse_etag(detail: str) -> ConflictError:
    """Make the error for a precondition that does not hold."""
    return ConflictError(detail, reason=Reason.ETAG_MISMATCH)
