"""Keeping the write-ahead log small without stalling the writer: two-phase checkpoints.

SQLite's own checkpoint runs inside a commit and stalls it for as long as 4 MB take to reach the
disk. Here a second connection in its own thread copies the log into the database while the writer
goes on (phase 1), and the writer then copies the few pages that came meanwhile (phase 2). With
nothing left to copy, SQLite starts the log again from its beginning. Phase 1 alone never gets
there under steady load: the log would grow without bound.

Both phases are PASSIVE: as the only writer, phase 2 copies everything, and unlike RESTART it does
not wait for readers. A reader that is busy just then puts the restart off to the next round.

Source: sqlite.org/wal.html, "Avoiding Excessively Large WAL Files"; walRestartLog() in wal.c.
"""

from __future__ import annotations

import sqlite3
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import structlog

from workmanager.store.connection import connect

if TYPE_CHECKING:
    from pathlib import Path

WAL_BYTES = 4 * 1024 * 1024  # written since the last restart of the log before phase 1 runs
PAGE_BYTES = 4096

log = structlog.get_logger()


class Checkpointer:
    """Runs phase 1 in a thread of its own; `after_commit` is called by the writer's thread only."""

    def __init__(self, path: Path, writer: sqlite3.Connection) -> None:
        self._copier = connect(path)
        self._writer = writer
        self._written = 0
        self._running = False
        self._copied = False  # phase 1 is over; set by its thread, taken by the writer's
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-checkpoint")
        self._thread.start()

    def after_commit(self, written_bytes: int) -> None:
        """Count what a transaction wrote; start or finish a checkpoint when it is time."""
        self._written += written_bytes
        if self._copied:
            self._copied = self._running = False
            self._finish()
        elif not self._running and self._written >= WAL_BYTES:
            self._running = True
            self._asked.put(True)

    def close(self) -> None:
        """Stop the thread; returns when it has ended."""
        self._asked.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._asked.get():
            checkpoint(self._copier)
            self._copied = True
        self._copier.close()

    def _finish(self) -> None:
        left = checkpoint(self._writer)
        # Not done (a reader, a full disk): try again after a quarter of the usual amount.
        self._written = 0 if left == 0 else WAL_BYTES * 3 // 4


def checkpoint(connection: sqlite3.Connection) -> int:
    """Copy what can be copied of the log into the database; return how many pages are left.

    A failure loses nothing: the log still holds everything.
    """
    try:
        busy, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as error:
        log.warning("store_checkpoint_failed", error=str(error))
        return 1
    return max(int(pages) - int(copied), int(busy))
