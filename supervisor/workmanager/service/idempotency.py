"""Answers kept under idempotency keys, in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.store import queries, statements

if TYPE_CHECKING:
    from workmanager.store.rows import IdempotencyRow
    from workmanager.supervisor import Supervisor


class StoredAnswers:
    """Keeps the answers to requests with an Idempotency-Key for 24 hours."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor

    async def get_answer(self, key: str) -> IdempotencyRow | None:
        """Return the answer kept under *key*."""
        return await self._sup.store.read(lambda db: queries.get_idempotency(db, key))

    async def put_answer(self, row: IdempotencyRow) -> None:
        """Keep an answer; returns after the commit."""
        await self._sup.core.ledger.commit(statements.put_idempotency(row))
