"""The one thread that writes: whatever waits becomes one transaction (group commit).

There is no timer. While a transaction waits for the disk, commits gather in the queue, and the
next transaction takes them all; an idle store commits at once. A transaction is a handful of
statements (see commit.py), because each step of SQLite gives up the interpreter lock and has to
win it back from a busy loop.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import structlog

from workmanager.errors import Reason, StoreError
from workmanager.store.checkpoint import PAGE_BYTES, Checkpointer
from workmanager.store.commit import BadCommitError, Commit, Counters, NoRoomError, plan
from workmanager.store.trim import Retention, Trimmer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from workmanager.store.sql import Statement

OnDone = Callable[[Exception | None], None]

GROUP_MAX = 256  # commits in one transaction; bounds how long the first of them waits
RETRY_AFTER_S = 1.0
ROOM_CHECK_S = 0.25  # between two looks at the free space
ROOM_BYTES = 32 * 1024 * 1024

# Not the fault of a commit: the disk is full or failing, or another process holds the lock.
_ENVIRONMENT = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """What a writer may be told.

    Attributes:
        retention: What is forgotten, and when.
        room_bytes: Free space below which new work is refused while work taken on goes on: the
            last bytes of a disk are for settling. 0 switches it off.
    """

    retention: Retention = field(default_factory=Retention)
    room_bytes: int = ROOM_BYTES


class Writer:
    """Owns the writing connection and its thread, named `store-writer`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        counters: Counters,
        options: WriterOptions | None = None,
    ) -> None:
        options = options or WriterOptions()
        self._connection = connection
        self._cursor = connection.cursor()
        self._folder = path.parent
        self._counters = counters
        self._trimmer = Trimmer(options.retention)
        self._room_bytes = options.room_bytes
        self._room_checked_at = 0.0
        self._has_room = True
        self._written = 0  # bytes since the checkpointer was last told
        self._checkpointer = Checkpointer(path, connection)
        self._queue: SimpleQueue[tuple[Commit, OnDone] | None] = SimpleQueue()
        self._gate = threading.Lock()  # nothing is queued behind the end mark
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer")
        self._thread.start()

    @property
    def retention(self) -> Retention:
        """What is forgotten, and when; may be set at any time, from any thread."""
        return self._trimmer.retention

    @retention.setter
    def retention(self, retention: Retention) -> None:
        self._trimmer.retention = retention

    def room_error(self) -> NoRoomError | None:
        """Return why new work would be refused for lack of room now; from any thread."""
        if not self._room_bytes or _has_room(self._folder, self._room_bytes):
            return None
        return _no_room(self._folder, self._room_bytes)

    def submit(self, commit: Commit, on_done: OnDone) -> None:
        """Queue *commit* and return at once; from any thread. Commits run in this order.

        *on_done* is called in the writer's thread, with None once the commit is on disk, else with
        the error; then nothing of the commit was kept. It must be quick and must not raise.

        - `BadCommitError`: this commit can never be written; everything else went on.
        - `StoreError` otherwise: the store takes no writes now (disk full, I/O error). The caller
          keeps what it must not lose, outcomes above all, and submits it again, each segment's
          progress as it stands *then*: progress replaces what was written before, and commits
          submitted later may have got through. The store heals by itself once it can write.
        """
        with self._gate:
            if not self._closed:
                self._queue.put((commit, on_done))
                return
        on_done(StoreError("the store is closed", reason=Reason.SHUTTING_DOWN))

    def close(self) -> None:
        """Write everything queued so far, then end the thread and close the connection."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            group, closing = self._take()
            self._write(group)
            # After the callers have been told: they do not wait for a checkpoint.
            self._checkpointer.after_commit(self._written)
            self._written = 0
        self._checkpointer.close()
        self._cursor.close()
        self._connection.close()

    def _take(self) -> tuple[list[tuple[Commit, OnDone]], bool]:
        """Wait for a commit, then take all that wait with it; True once there will be no more."""
        first = self._queue.get()
        if first is None:
            return [], True
        group = [first]
        while len(group) < GROUP_MAX:
            try:
                more = self._queue.get_nowait()
            except Empty:
                break
            if more is None:
                return group, True
            group.append(more)
        return group, False

    def _write(self, group: list[tuple[Commit, OnDone]]) -> None:
        if not self._room():
            group = self._refuse_intake(group)
        if not group:
            return
        error = self._transact([commit for commit, _ in group])
        if isinstance(error, BadCommitError) and len(group) > 1:
            for commit, on_done in group:  # only the bad one is to fail
                _report(on_done, self._transact([commit]))
            return
        for _, on_done in group:
            _report(on_done, error)

    def _transact(self, commits: Sequence[Commit]) -> StoreError | None:
        """Run *commits* as one transaction; return why nothing of it was kept, None if all was."""
        now = time.time()
        try:
            statements, counters = plan(commits, self._counters, now=now)
            statements += self._trimmer.due(counters, now=now)
            self._execute(statements)
        except Exception as error:  # noqa: BLE001 - whatever a commit holds, the thread goes on
            return _refusal(error, self._folder)
        self._counters = counters
        self._written += _written_bytes(statements)
        return None

    def _execute(self, statements: Sequence[Statement]) -> None:
        execute = self._cursor.execute
        try:
            execute("BEGIN IMMEDIATE")
            for text, params in statements:
                execute(text, params)
            execute("COMMIT")
        except BaseException:
            # Some errors have rolled back already; the connection says so.
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise

    def _room(self) -> bool:
        now = time.monotonic()
        if self._room_bytes and now - self._room_checked_at >= ROOM_CHECK_S:
            self._room_checked_at = now
            self._has_room = _has_room(self._folder, self._room_bytes)
        return self._has_room

    def _refuse_intake(self, group: list[tuple[Commit, OnDone]]) -> list[tuple[Commit, OnDone]]:
        for commit, on_done in group:
            if commit.is_intake:
                _report(on_done, _no_room(self._folder, self._room_bytes))
        return [pair for pair in group if not pair[0].is_intake]


def _report(on_done: OnDone, error: Exception | None) -> None:
    try:
        on_done(error)
    except Exception:
        log.exception("store_callback_failed")


def _refusal(error: Exception, folder: Path) -> StoreError:
    refusal: StoreError
    if _is_environment(error):
        refusal = StoreError(
            f"the store in {folder} cannot be written now: {error}; nothing was accepted,"
            " make room on the disk or mend it and try again",
            metadata={"folder": str(folder)},
            retry_after_s=RETRY_AFTER_S,
        )
    else:
        refusal = BadCommitError(f"the store refused a commit: {type(error).__name__}: {error}")
    refusal.__cause__ = error
    return refusal


def _is_environment(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # errors of the sqlite3 module have none
    return isinstance(error, MemoryError) or (code is not None and code & 0xFF in _ENVIRONMENT)


def _no_room(folder: Path, room_bytes: int) -> NoRoomError:
    return NoRoomError(
        f"less than {room_bytes >> 20} MiB are free for the store in {folder}: new work is refused"
        " so that accepted work can be finished; make room and try again",
        metadata={"folder": str(folder)},
        retry_after_s=RETRY_AFTER_S,
    )


def _has_room(folder: Path, room_bytes: int) -> bool:
    try:
        stat = os.statvfs(folder)
    except OSError:  # then the write itself will say what is wrong
        return True
    return stat.f_bavail * stat.f_frsize >= room_bytes


def _written_bytes(statements: Sequence[Statement]) -> int:
    """Estimate what a transaction added to the log: its blobs, and two pages per statement."""
    blobs = sum(len(p) for _, params in statements for p in params if isinstance(p, bytes))
    return blobs + 2 * PAGE_BYTES * (len(statements) + 1)
