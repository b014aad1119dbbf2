"""What a start finds: workers, versions, open deliveries, and what could not be read.

A segment is decoded by one call and its events stay as they are, so that a hundred thousand open
tasks load in a fraction of a second. What does not decode is moved into the table `quarantine`
and reported; the start goes on without it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

import msgpack

from workmanager.errors import StateFolderError, StoreError
from workmanager.store.commit import (
    CEILING_KEY,
    DELIVERIES_MAX,
    DELIVERY_BITS,
    KEY_BYTES,
    Commit,
    EventRow,
)
from workmanager.store.sql import Statement, in_list
from workmanager.store.statements import delete_retries
from workmanager.store.tables import OPERATIONS, RETRIES, VERSIONS, WORKERS, Row, Table

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from workmanager.store.rows import OperationRow, RetryRow, VersionRow, WorkerRow
    from workmanager.store.store import Store

_R = TypeVar("_R", bound=Row)


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """A segment with at least one open delivery.

    Attributes:
        events: `(topic, worker numbers, wire)`, in the order of their deliveries.
        done: One byte per delivery: 0 open, 1 settled.
    """

    id: int
    accepted_at: float
    events: tuple[EventRow, ...]
    done: bytes


@dataclass(slots=True)
class Recovered:
    """All that a start needs; code bodies are read when they are needed.

    Attributes:
        workers: By number; those with `deleted_at` are still to be deleted.
        versions: By worker, oldest first.
        operations: Those that were not done.
        retries: By task number; only of open deliveries.
        dedupe: `(accepted at, worker number, 16-byte keys)`, oldest first.
        fences: Last fencing token by name.
        faults: One sentence for each thing that could not be read.
        mending: Statements that put aside what could not be read; `recover` has run them.
    """

    workers: list[WorkerRow] = field(default_factory=list)
    versions: list[VersionRow] = field(default_factory=list)
    operations: list[OperationRow] = field(default_factory=list)
    segments: list[OpenSegment] = field(default_factory=list)
    retries: dict[int, RetryRow] = field(default_factory=dict)
    dedupe: list[tuple[float, int, bytes]] = field(default_factory=list)
    fences: dict[str, int] = field(default_factory=dict)
    next_segment: int = 1
    next_worker: int = 1
    faults: list[str] = field(default_factory=list)
    mending: list[Statement] = field(default_factory=list)


async def recover(store: Store, *, dedupe_s: float = 3_600.0) -> Recovered:
    """Read what was open when the store was last written, and put aside what is damaged.

    Args:
        store: Just opened; nothing was submitted to it yet.
        dedupe_s: How far back dedupe keys are read.

    Raises:
        StateFolderError: The database is so damaged that SQLite cannot read it.
        StoreError: Damaged rows could not be put aside (disk full).
    """
    since = time.time() - dedupe_s
    try:
        found = await store.read(lambda connection: load(connection, dedupe_since=since))
    except StoreError as error:
        msg = (
            f"{error}; move the state folder aside and restore a backup, or rescue what is left"
            " with `sqlite3 state.db .recover`"
        )
        raise StateFolderError(msg, metadata={"folder": str(store.folder)}) from error
    if found.mending:
        await store.commit(Commit(statements=found.mending))
    return found


def load(connection: sqlite3.Connection, *, dedupe_since: float = 0.0) -> Recovered:
    """Read everything a start needs; changes nothing."""
    out = Recovered()
    out.workers = list(_rows(connection, WORKERS, "ORDER BY no", out))
    out.versions = list(_rows(connection, VERSIONS, "ORDER BY worker_no, created_at", out))
    out.operations = list(_rows(connection, OPERATIONS, "WHERE NOT done ORDER BY created_at", out))
    _load_segments(connection, out)
    _load_retries(connection, out)
    out.dedupe = list(_dedupe(connection, dedupe_since, out))
    out.fences = dict(connection.execute("SELECT name, value FROM fence"))
    out.next_segment = int(_scalar(connection, _CEILING, CEILING_KEY) or 1)
    out.next_worker = int(_scalar(connection, _LAST_WORKER, "worker") or 0) + 1
    return out


def unpack_segment(body: bytes) -> tuple[EventRow, ...]:
    """Read the blob of a segment.

    Raises:
        ValueError, TypeError: It is none.
    """
    events = msgpack.unpackb(body, use_list=False)
    if type(events) is not tuple:
        raise TypeError("not an array of events")
    for topic, numbers, wire in events:
        if type(topic) is not str or type(wire) is not bytes or type(numbers) is not tuple:
            raise TypeError("not an event")
        if not all(type(number) is int for number in numbers):
            raise TypeError("not a worker number")
    return cast("tuple[EventRow, ...]", events)


_CEILING = "SELECT value FROM meta WHERE key = ?"
_LAST_WORKER = "SELECT seq FROM sqlite_sequence WHERE name = ?"
_SEGMENTS = (
    "SELECT s.id, s.accepted_at, s.body, p.done"
    " FROM segment s LEFT JOIN progress p ON p.segment_id = s.id ORDER BY s.id"
)
_ORPHANS = "SELECT segment_id FROM progress WHERE segment_id NOT IN (SELECT id FROM segment)"
_QUARANTINE = (
    "INSERT INTO quarantine (segment_id, accepted_at, body, done, reason, quarantined_at)"
    " SELECT s.id, s.accepted_at, s.body, p.done, ?, unixepoch()"
    " FROM segment s LEFT JOIN progress p ON p.segment_id = s.id WHERE s.id = ?"
)


def _load_segments(connection: sqlite3.Connection, out: Recovered) -> None:
    gone = [row[0] for row in connection.execute(_ORPHANS)]
    for segment_id, accepted_at, body, done in connection.execute(_SEGMENTS):
        try:
            segment = _open_segment(segment_id, accepted_at, body, done)
        except (ValueError, TypeError) as error:
            out.faults.append(
                f"segment {segment_id} cannot be read ({error}); it was moved to the table"
                " quarantine, its tasks do not run"
            )
            out.mending.append((_QUARANTINE, (str(error), segment_id)))
            gone.append(segment_id)
            continue
        if 0 in segment.done:
            out.segments.append(segment)
        else:
            gone.append(segment_id)
    out.mending += in_list("DELETE FROM segment WHERE id", gone)
    out.mending += in_list("DELETE FROM progress WHERE segment_id", gone)


def _open_segment(
    segment_id: int, accepted_at: float, body: bytes, done: bytes | None
) -> OpenSegment:
    events = unpack_segment(body)
    deliveries = sum(len(numbers) for _, numbers, _ in events)
    done = bytes(deliveries) if done is None else bytes(done)
    if len(done) != deliveries:
        msg = f"progress of {len(done)} deliveries for {deliveries}"
        raise ValueError(msg)
    return OpenSegment(segment_id, accepted_at, events, done)


def _load_retries(connection: sqlite3.Connection, out: Recovered) -> None:
    done = {segment.id: segment.done for segment in out.segments}
    gone: list[int] = []
    for row in RETRIES.all(connection):
        delivery = row.task_number & (DELIVERIES_MAX - 1)
        if done.get(row.task_number >> DELIVERY_BITS, b"")[delivery : delivery + 1] == b"\0":
            out.retries[row.task_number] = row
        else:
            gone.append(row.task_number)
    out.mending += delete_retries(gone)


def _dedupe(
    connection: sqlite3.Connection, since: float, out: Recovered
) -> Iterator[tuple[float, int, bytes]]:
    text = "SELECT id, accepted_at, body FROM dedupe WHERE accepted_at >= ? ORDER BY id"
    for row_id, accepted_at, body in connection.execute(text, (since,)):
        try:
            pairs = [(int(no), bytes(keys)) for no, keys in msgpack.unpackb(body)]
        except (ValueError, TypeError) as error:
            out.faults.append(f"dedupe keys {row_id} cannot be read ({error}); duplicates may run")
            continue
        for no, keys in pairs:
            yield accepted_at, no, keys[: len(keys) // KEY_BYTES * KEY_BYTES]


def _rows(
    connection: sqlite3.Connection, table: Table[_R], where: str, out: Recovered
) -> Iterator[_R]:
    for values in connection.execute(f"{table.select} {where}"):
        try:
            yield table.decode(values)
        except ValueError as error:
            out.faults.append(
                f"a row of {table.name} cannot be read ({error}); it stays there: {values[:3]}"
            )


def _scalar(connection: sqlite3.Connection, text: str, *params: object) -> str | int | None:
    row = connection.execute(text, params).fetchone()
    return cast("str | int", row[0]) if row else None
