"""Bringing a database to the newest schema: numbered SQL files, each in one transaction.

The number of the last file applied stands in `PRAGMA user_version`. A file that was released is
never edited: what changes gets the next number.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from workmanager.errors import StateFolderError

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

APPLICATION_ID = 0x574B4D47  # "WKMG", set by the first migration


def migrations() -> list[tuple[int, str]]:
    """Return `(number, SQL)` of every migration, in order."""
    folder = files("workmanager.store") / "migrations"
    found = [f for f in folder.iterdir() if f.name.endswith(".sql")]
    return sorted((int(f.name.split("_", 1)[0]), f.read_text()) for f in found)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Apply what *connection*'s database, at *path*, is behind.

    Raises:
        StateFolderError: It belongs to another program, or to a newer WorkManager.
        sqlite3.Error: A migration failed; nothing of it was kept.
    """
    version = _pragma(connection, "user_version")
    _check(connection, path, version)
    for number, script in migrations():
        if number <= version:
            continue
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;"
            )
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _check(connection: sqlite3.Connection, path: Path, version: int) -> None:
    newest = migrations()[-1][0]
    if version > newest:
        msg = (
            f"{path} has schema {version}, written by a newer WorkManager; this one knows up to"
            f" {newest}: upgrade it, or use another state folder"
        )
        raise StateFolderError(msg, metadata={"path": str(path), "schema": str(version)})
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if _pragma(connection, "application_id") != APPLICATION_ID and (tables or version):
        msg = f"{path} is a database of another program; use another state folder"
        raise StateFolderError(msg, metadata={"path": str(path)})


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
