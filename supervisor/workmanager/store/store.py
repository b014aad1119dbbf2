"""The open store as its users see it: a writer, reads beside it, and one awaitable commit."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, TypeVar

import trio

from workmanager.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from workmanager.store.commit import Commit
    from workmanager.store.writer import Writer

_T = TypeVar("_T")


class Store:
    """An open, locked state folder; made by `open_store`."""

    def __init__(
        self, *, folder: Path, writer: Writer, reader: sqlite3.Connection, lock: int
    ) -> None:
        self.folder = folder
        self.writer = writer
        self._reader = reader
        self._reading = threading.Lock()  # closing waits for a read to end
        self._read_limiter = trio.CapacityLimiter(1)  # one connection, one user at a time
        self._lock = lock
        self._closed = False

    async def read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run *query* on the read-only connection, in a thread of its own, and return its result.

        It sees one state of the store, all of what was committed before the call. It must not
        return a cursor. Reads run one after another; writes go on beside them. A caller that is
        cancelled still waits for the query.

        Raises:
            StoreError: The store cannot be read.
        """
        return await trio.to_thread.run_sync(
            self._read, query, limiter=self._read_limiter, thread_name="store-reader"
        )

    async def commit(self, commit: Commit) -> None:
        """Submit *commit* and return once it is on disk; for the cold path.

        A caller that is cancelled does not take the commit back.

        Raises:
            StoreError: Nothing of it was kept; see `Writer.submit`.
        """
        done = trio.Event()
        errors: list[Exception] = []
        token = trio.lowlevel.current_trio_token()

        def report(error: Exception | None) -> None:
            if error is not None:
                errors.append(error)
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set)

        self.writer.submit(commit, report)
        await done.wait()
        if errors:
            raise errors[0]

    async def aclose(self) -> None:
        """Write what is queued, then close; not cut short by cancellation."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.close, thread_name="store-close")

    def close(self) -> None:
        """Write what is queued, close everything and release the folder; a second call is free."""
        if self._closed:
            return
        self._closed = True
        with self._reading:
            self._reader.close()
        self.writer.close()  # last: closing the last connection empties the log
        os.close(self._lock)

    def _read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            with self._reading:
                return _in_snapshot(self._reader, query)
        except sqlite3.Error as error:
            msg = f"the store in {self.folder} cannot be read: {error}"
            raise StoreError(msg, metadata={"folder": str(self.folder)}) from error


def _in_snapshot(connection: sqlite3.Connection, query: Callable[[sqlite3.Connection], _T]) -> _T:
    connection.execute("BEGIN")  # not for writing: its end lets the log start again
    try:
        return query(connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
