"""Every write of the cold path, as statements for `Commit.statements`: no SQL stands elsewhere.

None of them touches segment, progress, history or dedupe; commit.plan relies on that. Those over
many rows need few steps, see sql.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.store.sql import Statement, in_list
from workmanager.store.tables import (
    ACCESS_KEYS,
    APPLICATIONS,
    DEAD_LETTERS,
    IDEMPOTENCY,
    OPERATIONS,
    RETRIES,
    VERSIONS,
    WORKERS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workmanager.store.rows import (
        AccessKeyRow,
        ApplicationRow,
        AuditRow,
        DeadLetterRow,
        IdempotencyRow,
        OperationRow,
        RetryRow,
        VersionRow,
        WorkerRow,
    )

_DROP_WORKERS_CODE = (
    "DELETE FROM code WHERE digest IN (SELECT code_digest FROM version WHERE worker_no = ?1)"
    " AND NOT EXISTS"
    " (SELECT 1 FROM version WHERE code_digest = code.digest AND worker_no <> ?1)"
)
_DROP_UNUSED_CODE = (
    "DELETE FROM code WHERE digest = ?"
    " AND NOT EXISTS (SELECT 1 FROM version WHERE code_digest = code.digest)"
)


def put_worker(row: WorkerRow) -> list[Statement]:
    """Create or replace a worker, by its number; a name or uid in use fails the commit."""
    return WORKERS.put([row])


def delete_worker(no: int) -> list[Statement]:
    """Delete a worker with its versions, their code, its retries and its dead letters.

    Its open deliveries are settled by the caller, through progress in the same commit.
    """
    return [
        (_DROP_WORKERS_CODE, (no,)),  # first: it finds the code through the versions
        ("DELETE FROM version WHERE worker_no = ?", (no,)),
        ("DELETE FROM retry_state WHERE worker_no = ?", (no,)),
        ("DELETE FROM dead_letter WHERE worker_no = ?", (no,)),
        ("DELETE FROM worker WHERE no = ?", (no,)),
    ]


def put_code(digest: str, body: bytes) -> list[Statement]:
    """Keep code under its digest; it stays as long as a version names it."""
    text = "INSERT INTO code (digest, body) VALUES (?, ?) ON CONFLICT DO NOTHING"
    return [(text, (digest, body))]


def put_version(row: VersionRow) -> list[Statement]:
    """Create or replace a version."""
    return VERSIONS.put([row])


def set_version_state(worker_no: int, version: str, state: str) -> list[Statement]:
    """Change nothing of a version but its state."""
    return [
        ("UPDATE version SET state = ? WHERE worker_no = ? AND id = ?", (state, worker_no, version))
    ]


def delete_version(row: VersionRow) -> list[Statement]:
    """Delete a version, and its code if no other version needs it."""
    return [
        ("DELETE FROM version WHERE worker_no = ? AND id = ?", (row.worker_no, row.id)),
        (_DROP_UNUSED_CODE, (row.code_digest,)),
    ]


def put_retries(rows: Sequence[RetryRow]) -> list[Statement]:
    """Remember what open tasks have been through, replacing what was known."""
    return RETRIES.put(rows)


def delete_retries(task_numbers: Iterable[int]) -> list[Statement]:
    """Forget the retry state of tasks that are settled."""
    return in_list("DELETE FROM retry_state WHERE task_number", task_numbers)


def put_dead_letters(rows: Sequence[DeadLetterRow]) -> list[Statement]:
    """Keep tasks that were given up."""
    return DEAD_LETTERS.put(rows)


def delete_dead_letters(ids: Iterable[str]) -> list[Statement]:
    """Delete dead letters (purged, or redriven in the same commit)."""
    return in_list("DELETE FROM dead_letter WHERE id", ids)


def put_fence(name: str, value: int) -> list[Statement]:
    """Raise a group's fencing token to *value*; it never falls."""
    text = (
        "INSERT INTO fence (name, value) VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET value = max(value, excluded.value)"
    )
    return [(text, (name, value))]


def put_operation(row: OperationRow) -> list[Statement]:
    """Create or replace an operation."""
    return OPERATIONS.put([row])


def delete_operations(ids: Iterable[str]) -> list[Statement]:
    """Forget operations."""
    return in_list("DELETE FROM operation WHERE id", ids)


def put_idempotency(row: IdempotencyRow) -> list[Statement]:
    """Keep the answer to a request under its idempotency key (for 24 hours)."""
    return IDEMPOTENCY.put([row])


def put_application(row: ApplicationRow) -> list[Statement]:
    """Create or replace an application."""
    return APPLICATIONS.put([row])


def delete_application(name: str) -> list[Statement]:
    """Delete an application with its keys."""
    return [
        ("DELETE FROM access_key WHERE application = ?", (name,)),
        ("DELETE FROM application WHERE name = ?", (name,)),
    ]


def put_access_key(row: AccessKeyRow) -> list[Statement]:
    """Create or replace an access key."""
    return ACCESS_KEYS.put([row])


def use_access_key(key_id: str, at: float) -> list[Statement]:
    """Note when a key was used; one that was deleted meanwhile stays deleted."""
    return [("UPDATE access_key SET last_used_at = ? WHERE id = ?", (at, key_id))]


def delete_access_key(key_id: str) -> list[Statement]:
    """Delete an access key: nobody gets in by it any more."""
    return [("DELETE FROM access_key WHERE id = ?", (key_id,))]


def put_audit(row: AuditRow) -> list[Statement]:
    """Write down what was done; its id is the next one."""
    columns = ("at", "principal", "action", "target", "outcome", "reason")
    text = f"INSERT INTO audit ({', '.join(columns)}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - ours
    return [(text, tuple(getattr(row, name) for name in columns))]


def delete_meta(key: str) -> list[Statement]:
    """Forget a small setting of the service itself."""
    return [("DELETE FROM meta WHERE key = ?", (key,))]


def put_meta(key: str, value: str) -> list[Statement]:
    """Keep a small setting of the service itself."""
    text = (
        "INSERT INTO meta (key, value) VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET value = excluded.value"
    )
    return [(text, (key, value))]
