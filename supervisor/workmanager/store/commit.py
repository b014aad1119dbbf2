"""A commit, and how the commits that wait together become one transaction. Pure.

A *segment* is all events accepted in one commit: one row, one blob. Delivery *d* of segment *s* is
the task numbered `s << 16 | d`. What settles deliveries rewrites one byte each in the segment's
progress; a segment whose deliveries are all settled disappears. So a transaction of a thousand
events costs the same few statements as one of a single event.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgpack

from workmanager.errors import Reason, StoreError
from workmanager.store.sql import Statement, in_list, insert_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EventRow = tuple[str, tuple[int, ...], bytes]  # topic, worker numbers, wire form

DELIVERY_BITS = 16
DELIVERIES_MAX = 1 << DELIVERY_BITS  # of one segment
OUTBOX = 0  # the worker number of deliveries to an external broker
CEILING_STEP = 1 << 16  # segment ids reserved at a time: one small write per 65,536 segments
KEY_BYTES = 16  # of one dedupe key
CEILING_KEY = "segment_ceiling"

_PUT_CEILING = (
    "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
)
_TASK, _WORKER, _ENDED = itemgetter(0), itemgetter(1), itemgetter(11)


class BadCommitError(StoreError):
    """The commit itself is at fault (a constraint, a value out of range); it can never be written.

    The store is well and everything else goes on. Do not submit it again.
    """

    reason = Reason.INTERNAL


class NoRoomError(StoreError):
    """The disk is nearly full: new work is refused, and the store is well for all else."""


@dataclass(slots=True)
class Commit:
    """What lands together or not at all. Submitting it gives it away: change nothing after.

    Attributes:
        segment_id: Id of the segment that *events* become; unused without events.
        accepted_at: When the events were accepted, unix seconds.
        events: `(topic, worker numbers, wire)`; deliveries are numbered in this order.
        progress: Per segment its whole done bytes, one per delivery, which replace the older ones.
        finished: Segments without an open delivery; they are deleted with their progress.
        history: Settled tasks, each a tuple in the order of `queries.HistoryEntry`'s fields.
        dedupe: Per worker number the keys accepted in this commit, 16 bytes each, concatenated.
        statements: Rows of the cold path, from `store.statements`; run first, in order.
    """

    segment_id: int = 0
    accepted_at: float = 0.0
    events: list[EventRow] = field(default_factory=list)
    progress: dict[int, bytes] = field(default_factory=dict)
    finished: list[int] = field(default_factory=list)
    history: list[tuple[object, ...]] = field(default_factory=list)
    dedupe: dict[int, bytes] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be written."""
        return not (
            self.events
            or self.progress
            or self.finished
            or self.history
            or self.dedupe
            or self.statements
        )

    @property
    def is_intake(self) -> bool:
        """Whether it only takes on work: it can be refused without losing what was done."""
        return bool(self.events) and not (self.progress or self.finished)


@dataclass(frozen=True, slots=True)
class Counters:
    """What the writer must know of the rows written before.

    Attributes:
        history: Tasks ever recorded; the id of the newest history row.
        dedupe: Keys ever recorded; the id of the newest dedupe row.
        segment_ceiling: Segment ids from here on are not reserved yet.
    """

    history: int = 0
    dedupe: int = 0
    segment_ceiling: int = 1


def plan(
    commits: Sequence[Commit], counters: Counters, *, now: float
) -> tuple[list[Statement], Counters]:
    """Merge *commits* into the statements of one transaction, and the counters after it.

    Statements of the cold path come first: those of `store.statements` never touch what the hot
    path writes, so their order relative to it is free.

    Raises:
        ValueError, TypeError, OverflowError: A commit cannot be encoded.
    """
    out: list[Statement] = [s for commit in commits for s in commit.statements]
    highest = _plan_segments(commits, out)
    if highest >= counters.segment_ceiling:
        counters = replace(counters, segment_ceiling=highest + CEILING_STEP)
        out.append((_PUT_CEILING, (CEILING_KEY, str(counters.segment_ceiling))))
    counters = _plan_history(commits, counters, out)
    return out, _plan_dedupe(commits, counters, out, now=now)


def pack_segment(events: Sequence[EventRow]) -> bytes:
    """Return the blob of a segment.

    Raises:
        ValueError: More deliveries than task numbers have room for.
    """
    deliveries = sum(len(numbers) for _, numbers, _ in events)
    if deliveries > DELIVERIES_MAX:
        msg = f"{deliveries} deliveries in one segment, at most {DELIVERIES_MAX} fit"
        raise ValueError(msg)
    return msgpack.packb(events)


def pack_history(rows: Sequence[tuple[object, ...]]) -> bytes:
    """Return the blob of a history row: `[count, column, ...]`.

    A column is the array of its values, or the one value that all tasks share; most columns do,
    which makes the blob a quarter of what the rows would take.
    """
    columns = zip(*rows, strict=True)
    body = [len(rows), *(c[0] if c.count(c[0]) == len(c) else c for c in columns)]
    # Error texts come from user code; half a character must not keep an outcome from its commit.
    return msgpack.packb(body, unicode_errors="backslashreplace")


def unpack_history(body: bytes) -> list[tuple[Any, ...]]:
    """Read the blob of a history row; the tuples of `Commit.history`, in their order."""
    count, *columns = msgpack.unpackb(body)
    return list(zip(*(c if type(c) is list else repeat(c, count) for c in columns), strict=True))


def _plan_segments(commits: Iterable[Commit], out: list[Statement]) -> int:
    """Add the statements for segments and progress; return the highest new segment id."""
    segments: dict[int, tuple[int, float, bytes]] = {}
    progress: dict[int, bytes] = {}
    finished: list[int] = []
    highest = 0
    for commit in commits:
        if commit.events:
            if commit.segment_id in segments:
                msg = f"segment {commit.segment_id} is used by two commits"
                raise ValueError(msg)
            body = pack_segment(commit.events)
            segments[commit.segment_id] = (commit.segment_id, commit.accepted_at, body)
            highest = max(highest, commit.segment_id)
        progress.update(commit.progress)
        finished.extend(commit.finished)
    for segment_id in finished:
        segments.pop(segment_id, None)  # accepted and finished in one transaction: never written
        progress.pop(segment_id, None)
    out += insert_rows("INSERT INTO segment (id, accepted_at, body)", segments.values())
    out += insert_rows(
        "INSERT INTO progress (segment_id, done)",
        progress.items(),
        "ON CONFLICT DO UPDATE SET done = excluded.done",
    )
    out += in_list("DELETE FROM segment WHERE id", finished)
    out += in_list("DELETE FROM progress WHERE segment_id", finished)
    return highest


def _plan_history(commits: Iterable[Commit], counters: Counters, out: list[Statement]) -> Counters:
    rows = [row for commit in commits for row in commit.history]
    if not rows:
        return counters
    total = counters.history + len(rows)
    numbers = list(map(_TASK, rows))
    workers = set(map(_WORKER, rows))
    worker_no = workers.pop() if len(workers) == 1 else None
    ended_at = max(map(_ENDED, rows))
    values = (total, ended_at, min(numbers), max(numbers), worker_no, pack_history(rows))
    head = "INSERT INTO history (id, ended_at, first_task, last_task, worker_no, body)"
    out += insert_rows(head, [values])
    return replace(counters, history=total)


def _plan_dedupe(
    commits: Iterable[Commit], counters: Counters, out: list[Statement], *, now: float
) -> Counters:
    pairs = [pair for commit in commits for pair in commit.dedupe.items() if pair[1]]
    if not pairs:
        return counters
    total = counters.dedupe + sum(len(keys) // KEY_BYTES for _, keys in pairs)
    head = "INSERT INTO dedupe (id, accepted_at, body)"
    out += insert_rows(head, [(total, now, msgpack.packb(pairs))])
    return replace(counters, dedupe=total)
