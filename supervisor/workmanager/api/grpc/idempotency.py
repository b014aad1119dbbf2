"""`idempotency-key` in a call's metadata: the same call sent twice is done once, answered twice.

As the Idempotency-Key of REST, with answers in the same place under the same keys: a key that one
API has used is used for the other too.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import structlog

from workmanager.errors import ConflictError, InvalidArgumentError, Reason, StoreError
from workmanager.store.rows import IdempotencyRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from workmanager.api.rest.idempotency import IdempotencyStore

HEADER = "idempotency-key"
MAX_KEY_CHARS = 255
RETRY_AFTER_S = 1.0
DONE = 200  # the HTTP status that REST would keep beside the answer

log = structlog.get_logger(__name__)


class KeyedAnswers:
    """The answers under way and kept; used in the trio loop."""

    def __init__(self, store: IdempotencyStore) -> None:
        self._store = store
        self._in_flight: set[str] = set()

    async def once(self, key: str, digest: str, answer: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what *answer* returns, or what the same call was answered before.

        Raises:
            ConflictError: The key is in flight (IDEMPOTENCY_KEY_IN_USE), or was used for another
                call (IDEMPOTENCY_KEY_REUSED).
        """
        if key in self._in_flight:
            raise ConflictError(
                "the first call with this idempotency-key is still under way",
                reason=Reason.IDEMPOTENCY_KEY_IN_USE,
                retry_after_s=RETRY_AFTER_S,
            )
        self._in_flight.add(key)
        try:
            return await self._once(key, digest, answer)
        finally:
            self._in_flight.discard(key)

    async def _once(self, key: str, digest: str, answer: Callable[[], Awaitable[bytes]]) -> bytes:
        kept = await self._store.get_answer(key)
        if kept is None:
            encoded = await answer()
            await self._keep(IdempotencyRow(key, digest, DONE, encoded, time.time()))
            return encoded
        if kept.body_digest != digest:
            raise ConflictError(
                "this idempotency-key was used for another call; take a new one",
                reason=Reason.IDEMPOTENCY_KEY_REUSED,
            )
        return kept.response

    async def _keep(self, row: IdempotencyRow) -> None:
        try:
            await self._store.put_answer(row)
        except StoreError:
            log.warning("idempotent_answer_not_kept", exc_info=True)


def key_of(metadata: Sequence[tuple[str, str | bytes]]) -> str:
    """Return the key in a call's metadata; empty for none.

    Raises:
        InvalidArgumentError: It is no key.
    """
    keys = [value for name, value in metadata if name == HEADER]
    if not keys:
        return ""
    key = str(keys[0])
    if len(keys) > 1 or not 0 < len(key) <= MAX_KEY_CHARS or not key.isprintable():
        raise InvalidArgumentError(
            f"{HEADER} is one text of 1 to {MAX_KEY_CHARS} printable ASCII characters"
        )
    return key


def digest_of(principal: str, method: str, request: bytes) -> str:
    """Return what tells this call from others."""
    digest = hashlib.sha256(f"{principal}\n{method}\n".encode())
    digest.update(request)
    return digest.hexdigest()
