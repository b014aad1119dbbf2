"""Idempotency-Key: the same request sent twice is done once and answered twice.

A key is kept for 24 hours with the digest of the request and its answer. In flight it is known to
this process alone, which is enough: one state folder has one supervisor, and a call that a crash
cut off was either committed or not, which the caller finds out by asking again.

Source: draft-ietf-httpapi-idempotency-key-header, section 2.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog
from starlette.responses import Response

from workmanager.errors import ConflictError, InvalidArgumentError, Reason, StoreError
from workmanager.service.roster import KEY_PREFIX
from workmanager.store.rows import IdempotencyRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

HEADER = "idempotency-key"
MAX_KEY_CHARS = 255
RETRY_AFTER_S = 1.0
KEPT_HEADERS = ("content-type", "location", "etag", "retry-after")
SHOWN_ONCE = "/accessKeys"  # the secret of a new key must not be kept
RAN_USER_CODE = frozenset({422, 504})  # an invoke that failed or timed out is not to be run again

log = structlog.get_logger(__name__)


class IdempotencyStore(Protocol):
    """Where answers are kept."""

    async def get_answer(self, key: str) -> IdempotencyRow | None:
        """Return the answer kept under *key*."""

    async def put_answer(self, row: IdempotencyRow) -> None:
        """Keep an answer; returns after the commit."""


class Answers:
    """The answers under way and kept."""

    def __init__(self, store: IdempotencyStore) -> None:
        self._store = store
        self._in_flight: set[str] = set()

    async def once(self, request: Request, call: Callable[[], Awaitable[Response]]) -> Response:
        """Answer *request*: by *call*, or by what it was answered before under its key.

        Raises:
            ConflictError: The key is in flight (IDEMPOTENCY_KEY_IN_USE), or was used for another
                request (IDEMPOTENCY_KEY_REUSED).
        """
        key = _key_of(request)
        if key in self._in_flight:
            raise ConflictError(
                "the first request with this Idempotency-Key is still under way",
                reason=Reason.IDEMPOTENCY_KEY_IN_USE,
                retry_after_s=RETRY_AFTER_S,
            )
        self._in_flight.add(key)
        try:
            return await self._once(request, key, call)
        finally:
            self._in_flight.discard(key)

    async def _once(
        self, request: Request, key: str, call: Callable[[], Awaitable[Response]]
    ) -> Response:
        digest = _digest(request)
        kept = await self._store.get_answer(key)
        if kept is not None:
            return _replay(kept, digest)
        response = await call()
        if _is_final(request, response):
            await self._keep(key, digest, response)
        return response

    async def _keep(self, key: str, digest: str, response: Response) -> None:
        headers = [
            (name, response.headers[name]) for name in KEPT_HEADERS if name in response.headers
        ]
        blob = msgspec.msgpack.encode((headers, bytes(response.body)))
        row = IdempotencyRow(key, digest, response.status_code, blob, time.time())
        try:
            await self._store.put_answer(row)
        except StoreError:
            log.warning("idempotent_answer_not_kept", status=response.status_code, exc_info=True)


def _key_of(request: Request) -> str:
    key = request.headers[HEADER].strip()
    if len(key) > 1 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]  # the draft's form is a quoted string, most clients send it bare
    if not 0 < len(key) <= MAX_KEY_CHARS or not key.isascii() or not key.isprintable():
        raise InvalidArgumentError(
            f"Idempotency-Key has 1 to {MAX_KEY_CHARS} printable ASCII characters"
        )
    return key


def _digest(request: Request) -> str:
    parts = (
        *_owner(request),
        request.method,
        request.url.path,
        request.url.query,
        request.headers.get("content-type", ""),
    )
    digest = hashlib.sha256("\n".join(parts).encode())
    digest.update(b"\n" + request.state.body)
    return digest.hexdigest()


def _owner(request: Request) -> tuple[str, ...]:
    """Return whose answer it is, where that matters: administrators may see all."""
    principal = str(request.scope["state"]["principal"])
    return (principal,) if principal.startswith(KEY_PREFIX) else ()


def _replay(kept: IdempotencyRow, digest: str) -> Response:
    if kept.body_digest != digest:
        raise ConflictError(
            "this Idempotency-Key was used for another request; take a new one",
            reason=Reason.IDEMPOTENCY_KEY_REUSED,
        )
    headers, body = msgspec.msgpack.decode(kept.response, type=tuple[list[tuple[str, str]], bytes])
    return Response(
        body, status_code=kept.status, headers={**dict(headers), "Idempotency-Replayed": "true"}
    )


def _is_final(request: Request, response: Response) -> bool:
    """Tell whether to keep the answer: a refusal changed nothing, and its cause may go away."""
    if request.url.path.endswith(SHOWN_ONCE):
        return False
    if 200 <= response.status_code < 300:
        return True
    return request.url.path.endswith(":invoke") and response.status_code in RAN_USER_CODE
