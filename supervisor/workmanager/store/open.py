"""Opening a state folder: everything that can be wrong with it is said here, before the start."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from typing import TYPE_CHECKING

from workmanager.errors import StateFolderError
from workmanager.store.commit import CEILING_KEY, Counters
from workmanager.store.connection import connect, connect_read_only
from workmanager.store.lock import lock_folder
from workmanager.store.migrate import migrate
from workmanager.store.store import Store
from workmanager.store.writer import Writer, WriterOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATABASE = "state.db"
COMPACT_BYTES = 64 * 1024 * 1024  # free space inside the file that is worth a rewrite

_NEXT_STEPS = {
    errno.EACCES: "give this user the folder (chown, chmod 700)",
    errno.EPERM: "give this user the folder (chown, chmod 700)",
    errno.EROFS: "remount it for writing, or use a folder on another file system",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "raise the disk quota",
    errno.ENOTDIR: "name a folder",
    errno.EEXIST: "name a folder",
}
_CORRUPT = (
    "it is damaged; move it aside and restore a backup, or rescue what is left with"
    " `sqlite3 state.db .recover`"
)
_SQLITE_STEPS = {
    sqlite3.SQLITE_CORRUPT: _CORRUPT,
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; move it aside or restore a backup",
    sqlite3.SQLITE_READONLY: "give this user the folder and its files (chown, chmod)",
    sqlite3.SQLITE_CANTOPEN: "give this user the folder and its files (chown, chmod)",
    sqlite3.SQLITE_PERM: "give this user the folder and its files (chown, chmod)",
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_IOERR: "look at the disk (dmesg) and at its free space",
    sqlite3.SQLITE_BUSY: "another program has it open: end that program",
}


def open_store(folder: Path, *, options: WriterOptions | None = None) -> Store:
    """Open the state folder *folder*, made with mode 0700 if it is not there, and lock it.

    The writer's threads run when this returns; `Store.close` ends them and releases the lock.

    Raises:
        StateFolderError: It cannot be used; the message says why and what to do.
    """
    with contextlib.ExitStack() as undo, _explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = lock_folder(folder)
        undo.callback(os.close, lock)
        path = folder / DATABASE
        # SQLite gives the log and its index the mode of the database: ours, not the umask's.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = connect(path)
        undo.callback(connection.close)
        _prepare(connection, path)
        counters = _counters(connection)
        reader = connect_read_only(path)
        undo.callback(reader.close)
        reader.execute("SELECT 1 FROM meta").fetchone()
        writer = Writer(connection, path, counters=counters, options=options)
        undo.pop_all()
        return Store(folder=folder, writer=writer, reader=reader, lock=lock)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        msg = f"SQLite cannot keep a write-ahead log beside {path} ({mode}); use a local disk"
        raise StateFolderError(msg, metadata={"path": str(path)})
    migrate(connection, path)
    _compact(connection)
    # Proves that writing works now, not at the first event.
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('opened_at', unixepoch())"
        " ON CONFLICT DO UPDATE SET value = excluded.value"
    )


def _compact(connection: sqlite3.Connection) -> None:
    """Give the disk back what a backlog that is gone had taken, if most of the file is free."""
    free, pages, page_bytes = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("freelist_count", "page_count", "page_size")
    )
    if free * page_bytes < COMPACT_BYTES or free < pages * 3 // 4:
        return
    with contextlib.suppress(sqlite3.OperationalError):  # no room for the copy: not today
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _counters(connection: sqlite3.Connection) -> Counters:
    ceiling = connection.execute("SELECT value FROM meta WHERE key = ?", (CEILING_KEY,)).fetchone()
    history, dedupe = connection.execute(
        "SELECT ifnull((SELECT max(id) FROM history), 0), ifnull((SELECT max(id) FROM dedupe), 0)"
    ).fetchone()
    return Counters(history, dedupe, int(ceiling[0]) if ceiling else 1)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what the system or SQLite says into a StateFolderError with a next step."""
    try:
        yield
    except OSError as error:
        step = _NEXT_STEPS.get(error.errno or 0, "mend it or use another folder")
        msg = f"the state folder {folder} cannot be used: {error.strerror or error}; {step}"
        raise StateFolderError(msg, metadata={"folder": str(folder)}) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        step = _SQLITE_STEPS.get(code, "mend it or use another state folder")
        msg = f"the database {folder / DATABASE} cannot be used: {error}; {step}"
        raise StateFolderError(msg, metadata={"folder": str(folder)}) from error
