"""Paths, bodies and headers of the calls, as the service wants them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workmanager.client.session import Query

# RFC 3986, section 2.3
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str) -> str:
    """Percent-encode *text* for one segment of a path, or one name or value of a query.

    As `urllib.parse.quote` does, whose module takes 5 ms to import.
    """
    raw = text.encode(errors="surrogateescape")
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in raw)


def worker_path(ref: str) -> str:
    """Return the path of a worker."""
    return f"/v1/workers/{quote(ref)}"


def version_path(ref: str, version: str) -> str:
    """Return the path of a version of a worker."""
    return f"{worker_path(ref)}/versions/{quote(version)}"


def logs_path(ref: str) -> str:
    """Return the path of one worker's log, or of the log of all."""
    return f"{worker_path(ref)}/logs" if ref else "/v1/logs"


def task_path(task: str) -> str:
    """Return the path of a task."""
    return f"/v1/tasks/{quote(task)}"


def operation_path(operation: str) -> str:
    """Return the path of an operation."""
    return f"/v1/operations/{quote(operation)}"


def encode(body: object) -> bytes:
    """Encode a body as JSON, in ASCII: a lone surrogate is for the service to refuse."""
    return json.dumps(body, separators=(",", ":")).encode()


def idempotency_key() -> dict[str, str]:
    """Make a header that lets the service know a repeated call for the same one."""
    return {"idempotency-key": os.urandom(16).hex()}


def if_match(etag: str) -> dict[str, str]:
    """Make the header that refuses the call if the resource has changed since *etag*."""
    return {"if-match": f'"{etag}"'} if etag else {}


def paging(page_size: int, page_token: str) -> Query:
    """Make the query of a page; 0 leaves the size to the service."""
    return {"pageSize": page_size or None, "pageToken": page_token}


def camel(filters: Mapping[str, str]) -> dict[str, str]:
    """Name filters as the wire does: `error_type` becomes `errorType`."""
    parts = ((name.split("_"), value) for name, value in filters.items())
    return {head + "".join(map(str.title, rest)): value for (head, *rest), value in parts}


def selection(ids: Sequence[str], filters: Mapping[str, str]) -> dict[str, Any]:
    """Make the body that selects dead letters."""
    return ({"ids": list(ids)} if ids else {}) | given(camel(filters))


def given(options: Mapping[str, object]) -> dict[str, Any]:
    """Leave out what was not given."""
    return {name: value for name, value in options.items() if value not in (None, "")}
