"""Every read after the start, for `Store.read`: `await store.read(lambda c: get_code(c, digest))`.

Lists are paged by key, newest first: a page costs the same at the end of a long list as at its
beginning, and what is added meanwhile moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from workmanager.store.commit import unpack_history
from workmanager.store.tables import (
    ACCESS_KEYS,
    APPLICATIONS,
    AUDIT,
    DEAD_LETTERS,
    IDEMPOTENCY,
    OPERATIONS,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from workmanager.store.rows import (
        AccessKeyRow,
        ApplicationRow,
        AuditRow,
        DeadLetterRow,
        IdempotencyRow,
        OperationRow,
    )

TimeKey = tuple[float, str]  # position in a list ordered by a time: the time and the id


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters; a field left empty matches all.

    Attributes:
        since: Given up at this time or later, unix seconds.
    """

    worker_no: int | None = None
    reason: str = ""
    error_type: str = ""
    event_type: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A settled task. Field order is that of the tuples in `Commit.history`.

    Times are unix seconds; `outputs` counts output events. What the last attempt used is -1 where
    it is not known; that and the topic are not in rows of older releases.
    """

    task_number: int
    worker_no: int
    status: str
    attempt: int
    crashes: int
    version_id: str
    executor_id: str
    event_id: str
    event_source: str
    event_type: str
    accepted_at: float
    ended_at: float
    duration_us: int
    outputs: int
    error_type: str
    error_message: str
    cpu_us: int = -1
    memory_peak_bytes: int = -1
    read_bytes: int = -1
    written_bytes: int = -1
    topic: str = ""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some settled tasks, newest first, and where to go on; *before* is 0 at the end."""

    entries: list[HistoryEntry]
    before: int


def get_code(connection: sqlite3.Connection, digest: str) -> bytes | None:
    """Return code by its digest; None if it is not kept."""
    row = connection.execute("SELECT body FROM code WHERE digest = ?", (digest,)).fetchone()
    return cast("bytes", row[0]) if row else None


def get_dead_letter(connection: sqlite3.Connection, dead_letter_id: str) -> DeadLetterRow | None:
    """Return a dead letter; None if there is none of this id."""
    return DEAD_LETTERS.get(connection, dead_letter_id)


def list_dead_letters(
    connection: sqlite3.Connection,
    wanted: DeadLetterFilter,
    *,
    limit: int,
    before: TimeKey | None = None,
) -> list[DeadLetterRow]:
    """Return up to *limit* dead letters, newest first.

    Args:
        connection: From `Store.read`.
        wanted: Which.
        limit: Rows of a page.
        before: `(failed_at, id)` of the last one of the page before; None for the first page.
    """
    where, params = _dead_letters(wanted)
    if before is not None:
        where += " AND (failed_at, id) < (?, ?)"
        params += before
    return DEAD_LETTERS.all(
        connection, f"{where} ORDER BY failed_at DESC, id DESC LIMIT ?", *params, limit
    )


def oldest_dead_letters(
    connection: sqlite3.Connection,
    wanted: DeadLetterFilter,
    *,
    limit: int,
    until: float,
    after: TimeKey = (0.0, ""),
) -> list[DeadLetterRow]:
    """Return up to *limit* dead letters, oldest first, none of them given up after *until*.

    Args:
        connection: From `Store.read`.
        wanted: Which.
        limit: Rows of a page.
        until: Unix seconds; what is given up again while one goes on is not met twice.
        after: `(failed_at, id)` of the last one of the page before.
    """
    where, params = _dead_letters(wanted)
    where += " AND failed_at <= ? AND (failed_at, id) > (?, ?)"
    return DEAD_LETTERS.all(
        connection, f"{where} ORDER BY failed_at, id LIMIT ?", *params, until, *after, limit
    )


def count_dead_letters(connection: sqlite3.Connection) -> dict[int, int]:
    """Return the number of dead letters by worker number."""
    text = "SELECT worker_no, count(*) FROM dead_letter GROUP BY worker_no"
    return dict(connection.execute(text))


def get_history(connection: sqlite3.Connection, task_number: int) -> HistoryEntry | None:
    """Return what became of a task; None if it is not settled, or forgotten."""
    text = "SELECT body FROM history WHERE first_task <= ?1 AND last_task >= ?1 ORDER BY id DESC"
    for (body,) in connection.execute(text, (task_number,)):
        for values in unpack_history(body):
            if values[0] == task_number:
                return HistoryEntry(*values)
    return None


def list_history(
    connection: sqlite3.Connection,
    *,
    limit: int,
    worker_no: int | None = None,
    status: str = "",
    before: int = 0,
) -> HistoryPage:
    """Return up to *limit* settled tasks, newest first.

    Args:
        connection: From `Store.read`.
        limit: Rows of a page.
        worker_no: Of this worker only.
        status: Of this status only.
        before: From the page before; 0 for the first page.
    """
    found = (
        (ordinal, entry)
        for ordinal, entry in _newest_first(connection, worker_no, before)
        if (worker_no is None or entry[1] == worker_no) and (not status or entry[2] == status)
    )
    page = list(islice(found, limit))
    more = next(found, None) is not None
    return HistoryPage([HistoryEntry(*entry) for _, entry in page], page[-1][0] if more else 0)


def get_operation(connection: sqlite3.Connection, operation_id: str) -> OperationRow | None:
    """Return an operation; None if there is none of this id."""
    return OPERATIONS.get(connection, operation_id)


def list_operations(
    connection: sqlite3.Connection, *, limit: int, before: TimeKey | None = None
) -> list[OperationRow]:
    """Return up to *limit* operations, newest first, after the `(created_at, id)` of *before*."""
    where, params = ("WHERE (created_at, id) < (?, ?)", before) if before else ("", ())
    return OPERATIONS.all(
        connection, f"{where} ORDER BY created_at DESC, id DESC LIMIT ?", *params, limit
    )


def get_idempotency(connection: sqlite3.Connection, key: str) -> IdempotencyRow | None:
    """Return the answer kept under an idempotency key; None if there is none."""
    return IDEMPOTENCY.get(connection, key)


def all_applications(
    connection: sqlite3.Connection,
) -> tuple[list[ApplicationRow], list[AccessKeyRow]]:
    """Return every application and every access key."""
    return APPLICATIONS.all(connection), ACCESS_KEYS.all(connection)


def list_audit(
    connection: sqlite3.Connection,
    *,
    limit: int,
    principal: str = "",
    action: str = "",
    before: int = 0,
) -> list[AuditRow]:
    """Return up to *limit* audit entries, newest first.

    Args:
        connection: From `Store.read`.
        limit: Rows of a page.
        principal: Of this one only, or, where it ends in `/`, of all that begin so.
        action: This call only.
        before: Id of the last one of the page before; 0 for the first page.
    """
    where: list[str] = ["id < ?"]
    found: list[object] = [before or (1 << 62)]
    if principal.endswith("/"):
        where.append("substr(principal, 1, ?) = ?")
        found += [len(principal), principal]
    elif principal:
        where.append("principal = ?")
        found.append(principal)
    if action:
        where.append("action = ?")
        found.append(action)
    text = f"WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
    return AUDIT.all(connection, text, *found, limit)


def list_meta(connection: sqlite3.Connection, prefix: str) -> dict[str, str]:
    """Return the small settings whose keys begin with *prefix*, without it."""
    rows = connection.execute(
        "SELECT substr(key, ?), value FROM meta WHERE substr(key, 1, ?) = ?",
        (len(prefix) + 1, len(prefix), prefix),
    )
    return dict(rows.fetchall())


def get_meta(connection: sqlite3.Connection, key: str) -> str | None:
    """Return a setting kept by `statements.put_meta`; None if it was never kept."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else None


def count_quarantined(connection: sqlite3.Connection) -> int:
    """Return how many damaged segments lie in quarantine."""
    return int(connection.execute("SELECT count(*) FROM quarantine").fetchone()[0])


def _dead_letters(wanted: DeadLetterFilter) -> tuple[str, tuple[object, ...]]:
    terms: list[tuple[str, object]] = [("failed_at >= ?", wanted.since)]
    if wanted.worker_no is not None:
        terms.append(("worker_no = ?", wanted.worker_no))
    texts = ("reason", "error_type", "event_type")
    terms += [(f"{name} = ?", getattr(wanted, name)) for name in texts if getattr(wanted, name)]
    return "WHERE " + " AND ".join(t for t, _ in terms), tuple(v for _, v in terms)


def _newest_first(
    connection: sqlite3.Connection, worker_no: int | None, before: int
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield `(ordinal, fields)` of settled tasks; the ordinal counts all tasks ever recorded."""
    # A row of another worker alone is not even read. The row that *before* lies in comes first:
    # its id is the ordinal of its newest task, so it can be larger.
    text = (
        "SELECT id, body FROM history WHERE id < ifnull("
        "(SELECT min(id) FROM history WHERE id >= ?1), ?1) + 1"
        " AND (?2 IS NULL OR worker_no IS NULL OR worker_no = ?2) ORDER BY id DESC"
    )
    start = before or (1 << 62)
    for row_id, body in connection.execute(text, (start, worker_no)):
        for back, values in enumerate(reversed(unpack_history(body))):
            if row_id - back < start:
                yield row_id - back, values
