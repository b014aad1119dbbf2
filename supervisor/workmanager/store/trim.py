"""What is forgotten: old history, dedupe keys, dead letters, idempotency keys, audit. Pure.

Trimming rides on normal commits, a bounded number of rows at a time: no timer, no thread, and no
commit that suddenly pays for a million rows. It takes twice as many rows as commits add, so it
keeps up; what is over the limit meanwhile is a few rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workmanager.store.commit import Counters
    from workmanager.store.sql import Statement

EVERY_COMMITS = 32  # transactions between two trims under load
EVERY_S = 1.0  # between two trims when commits are few
ROWS_MAX = 2 * EVERY_COMMITS  # a transaction adds at most one row per table
SLOW_EVERY_S = 10.0  # between two trims of the tables that fill slowly
SLOW_ROWS_MAX = 1000

# CROSS JOIN keeps SQLite to this order: one search of an index per worker.
_DEAD_LETTERS = (
    "DELETE FROM dead_letter WHERE id IN ("
    "SELECT d.id FROM worker w CROSS JOIN dead_letter d"
    " ON d.worker_no = w.no AND d.failed_at < ? - w.dead_letter_retention_s LIMIT ?)"
)
_IDEMPOTENCY = (
    "DELETE FROM idempotency WHERE key IN ("
    "SELECT key FROM idempotency WHERE created_at < ? ORDER BY created_at LIMIT ?)"
)
# Ids count what was written, so the oldest ones are those that are too many or too old.
_AUDIT = (
    "DELETE FROM audit WHERE id IN (SELECT id FROM (SELECT id, at FROM audit ORDER BY id LIMIT ?)"
    " WHERE id <= (SELECT max(id) FROM audit) - ? OR at < ?)"
)


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept. Dead letters are kept as long as their worker says.

    Attributes:
        dedupe_s: At least the longest window of any worker; windows are the loop's business.
        dedupe_keys: Of all workers together.
    """

    history_tasks: int = 100_000
    history_s: float = 7 * 86_400.0
    dedupe_s: float = 3_600.0
    dedupe_keys: int = 1_000_000
    idempotency_s: float = 86_400.0
    audit_s: float = 90 * 86_400.0
    audit_entries: int = 100_000


def trim_hot(counters: Counters, retention: Retention, *, now: float) -> list[Statement]:
    """Return the statements that forget the oldest rows of history and dedupe, if too many or old.

    Only the oldest 64 rows are looked at: ids count what was recorded, so both limits are met
    from that end.
    """
    return [
        (
            _oldest("history", "ended_at"),
            (ROWS_MAX, counters.history - retention.history_tasks, now - retention.history_s),
        ),
        (
            _oldest("dedupe", "accepted_at"),
            (ROWS_MAX, counters.dedupe - retention.dedupe_keys, now - retention.dedupe_s),
        ),
    ]


def trim_slow(retention: Retention, *, now: float) -> list[Statement]:
    """Return the statements that forget dead letters, idempotency keys and audit entries."""
    return [
        (_DEAD_LETTERS, (now, SLOW_ROWS_MAX)),
        (_IDEMPOTENCY, (now - retention.idempotency_s, SLOW_ROWS_MAX)),
        (_AUDIT, (SLOW_ROWS_MAX, retention.audit_entries, now - retention.audit_s)),
    ]


@dataclass(slots=True)
class Trimmer:
    """Decides when a transaction also trims; owned by the writer's thread."""

    retention: Retention
    _commits: int = EVERY_COMMITS
    _hot_at: float = 0.0
    _slow_at: float = 0.0

    def due(self, counters: Counters, *, now: float) -> list[Statement]:
        """Return what the transaction about to run should forget; mostly nothing."""
        self._commits += 1
        out: list[Statement] = []
        # abs: a clock set back must not stop trimming until it has caught up.
        if self._commits >= EVERY_COMMITS or abs(now - self._hot_at) >= EVERY_S:
            self._commits, self._hot_at = 0, now
            out += trim_hot(counters, self.retention, now=now)
        if abs(now - self._slow_at) >= SLOW_EVERY_S:
            self._slow_at = now
            out += trim_slow(self.retention, now=now)
        return out


def _oldest(table: str, time_column: str) -> str:
    return (
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM"  # noqa: S608 - both are ours
        f" (SELECT id, {time_column} AS at FROM {table} ORDER BY id LIMIT ?)"
        " WHERE id <= ? OR at < ?)"
    )
