"""Calls in the form of the REST API, and what its answers say.

A field stands in the path where the path names it, in If-Match where it is an etag, in the body
where the call says so, and in the query otherwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workmanager.client.problems import ProblemError, problem_from
from workmanager.client.wire import encode, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workmanager.client.call import Call, Json

FIRST_ERROR_STATUS = 300  # redirects are not followed: the token would go where they point
RAW = frozenset({"GetCode", "GetMetrics"})  # what these answer is no JSON


@dataclass(frozen=True, slots=True)
class HttpForm:
    """A request: *path* holds the query; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


def http_form(call: Call[Any], *, token: str = "") -> HttpForm:
    """Return *call* as an HTTP request."""
    path, left = _path(call.path, call.fields)
    headers = _headers(call, token)
    etag = left.pop("ifMatch", None)
    if etag:
        headers["if-match"] = f'"{etag}"'
    body, left = _body(call, left)
    if body:
        headers["content-type"] = call.content_type
    return HttpForm(call.method, path + _query(left, "&" if "?" in path else "?"), headers, body)


def read_answer(call: Call[Any], status: int, headers: Mapping[str, str], body: bytes) -> Json:
    """Return what the service answered; names in *headers* are in lower case.

    Raises:
        ProblemError: It refused the call, or the answer is not one of ours.
    """
    if status >= FIRST_ERROR_STATUS:
        raise problem_from(status, headers, body)
    if call.rpc in RAW:
        return {
            "content": body,
            "mediaType": headers.get("content-type", ""),
            "text": body.decode(errors="replace"),
        }
    if not body:
        return {}
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ProblemError("NOT_JSON", status, f"{call.path} answered no JSON object")
    return document


def _headers(call: Call[Any], token: str) -> dict[str, str]:
    accept = "*/*" if call.rpc in RAW else "application/json"
    headers = {"accept": accept, "user-agent": "workmanager-client"}
    if call.key:
        headers["idempotency-key"] = call.key
    if token:
        headers["authorization"] = f"Bearer {token}"
    return headers


def _path(template: str, fields: Mapping[str, object]) -> tuple[str, dict[str, Any]]:
    """Fill in the path; return it with the fields that it has no place for."""
    left = {name: value for name, value in fields.items() if value not in (None, "")}
    path = template
    for name in [name for name in fields if f"{{{name}}}" in template]:
        path = path.replace(f"{{{name}}}", quote(str(left.pop(name, ""))))
    return path, left


def _body(call: Call[Any], fields: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    if call.body == "*":
        return (encode(fields) if fields else b""), {}
    if not call.body:
        return b"", fields
    value = fields.pop(call.body, None)
    if isinstance(value, bytes):  # code: its media type is the Content-Type
        fields.pop("mediaType", None)
        return value, fields
    return encode(value), fields


def _query(fields: Mapping[str, Any], mark: str) -> str:
    pairs = [f"{quote(name)}={quote(_text(value))}" for name, value in fields.items()]
    return mark + "&".join(pairs) if pairs else ""


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
