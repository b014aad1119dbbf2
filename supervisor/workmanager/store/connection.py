"""Opening SQLite connections the one way this store uses them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BUSY_S = 5.0  # nobody else writes; an operator's sqlite3 shell may hold the lock for a moment
WAL_KEPT_BYTES = 16 * 1024 * 1024  # a log grown by one huge commit is cut back to this
CACHE_KIB = 8192

_PRAGMAS = (
    # An acknowledged event survives a power cut: the log is synced before a commit returns.
    "PRAGMA synchronous = FULL",
    # Checkpoints are ours, see checkpoint.py.
    "PRAGMA wal_autocheckpoint = 0",
    f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}",
    f"PRAGMA cache_size = -{CACHE_KIB}",
    # Debian builds SQLite to overwrite deleted content with zeros, which costs up to a third of
    # the throughput here; the folder is 0700.
    "PRAGMA secure_delete = OFF",
    "PRAGMA temp_store = MEMORY",
)


def connect(path: Path) -> sqlite3.Connection:
    """Open *path* for writing, in autocommit mode; transactions are begun by statements.

    The connection may be handed to another thread, but only one may use it at a time.
    """
    connection = sqlite3.connect(
        path,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,  # see sql.py: few texts, all of them kept prepared
    )
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open *path* for reading only; every write through it is refused by SQLite."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA query_only = ON")
    return connection
