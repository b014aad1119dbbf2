"""How row values and table rows turn into each other: one codec for all cold tables.

A row's fields are its table's columns, by name. Dictionaries are JSON text in the database.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

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
from workmanager.store.sql import Statement, insert_rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from dataclasses import Field


class Row(Protocol):
    """Any of the dataclasses of rows.py."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


_R = TypeVar("_R", bound=Row)


@dataclass(frozen=True, slots=True)
class Table(Generic[_R]):
    """A cold table: its name, the type of its rows, its key, and which columns are JSON."""

    name: str
    row: type[_R]
    key: tuple[str, ...]
    json: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, in the order of the row's fields."""
        return _columns(self.row)

    @property
    def select(self) -> str:
        """`SELECT columns FROM table`, for `decode`."""
        return f"SELECT {', '.join(self.columns)} FROM {self.name}"  # noqa: S608 - all are ours

    def put(self, rows: Sequence[_R]) -> list[Statement]:
        """Return the statements that insert *rows*, replacing those with the same key."""
        changed = [f"{c} = excluded.{c}" for c in self.columns if c not in self.key]
        return insert_rows(
            f"INSERT INTO {self.name} ({', '.join(self.columns)})",
            [self.encode(row) for row in rows],
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {', '.join(changed)}",
        )

    def encode(self, row: _R) -> tuple[object, ...]:
        """Return the values of *row*'s columns."""
        return tuple(self._to_column(name, getattr(row, name)) for name in self.columns)

    def decode(self, values: Sequence[object]) -> _R:
        """Return the row of *values*, which `select` gave.

        Raises:
            ValueError: A JSON column holds none.
        """
        return self.row(
            **{n: self._from_column(n, v) for n, v in zip(self.columns, values, strict=True)}
        )

    def all(self, connection: sqlite3.Connection, where: str = "", *params: object) -> list[_R]:
        """Return the rows that *where* (the SQL after the table's name) selects."""
        return [self.decode(v) for v in connection.execute(f"{self.select} {where}", params)]

    def get(self, connection: sqlite3.Connection, *key: object) -> _R | None:
        """Return the row with this key; None if there is none."""
        where = " AND ".join(f"{name} = ?" for name in self.key)
        rows = self.all(connection, f"WHERE {where}", *key)
        return rows[0] if rows else None

    def _to_column(self, name: str, value: object) -> object:
        if name in self.json and value is not None:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return value

    def _from_column(self, name: str, value: object) -> object:
        if name in self.json and isinstance(value, str):
            return json.loads(value)
        return bool(value) if name in self.flags else value


@cache
def _columns(row: type[Row]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(row))


WORKERS = Table("worker", WorkerRow, ("no",), frozenset({"spec", "labels", "annotations"}))
VERSIONS = Table("version", VersionRow, ("worker_no", "id"), frozenset({"spec"}))
RETRIES = Table("retry_state", RetryRow, ("task_number",))
DEAD_LETTERS = Table("dead_letter", DeadLetterRow, ("id",))
OPERATIONS = Table(
    "operation",
    OperationRow,
    ("id",),
    json=frozenset({"request", "result", "error"}),
    flags=frozenset({"done"}),
)
IDEMPOTENCY = Table("idempotency", IdempotencyRow, ("key",))
APPLICATIONS = Table("application", ApplicationRow, ("name",), frozenset({"grants"}))
ACCESS_KEYS = Table("access_key", AccessKeyRow, ("id",))
AUDIT = Table("audit", AuditRow, ("id",))
