"""Building blocks of SQL text: statements over many rows that SQLite runs in a single step.

Every step of a statement gives up the interpreter lock and must win it back from the busy loop, so
a thousand rows go in one statement, not in a thousand. Texts are cached: equal counts give the
same text, which the connection then finds prepared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_T = TypeVar("_T")
Statement = tuple[str, Sequence[object]]

ROWS_MAX = 32  # per INSERT: keeps the number of distinct texts, all cached, small
PARAMS_MAX = 512  # per IN list; a power of two, see `in_list`


def insert_rows(head: str, rows: Iterable[Sequence[object]], tail: str = "") -> list[Statement]:
    """Return the INSERTs of *rows*, each of up to 32 of them, as `head VALUES (...) tail`."""
    return [
        (_insert_text(head, len(some[0]), len(some), tail), list(chain.from_iterable(some)))
        for some in _chunks(rows, ROWS_MAX)
    ]


def in_list(head: str, values: Iterable[object], tail: str = "") -> list[Statement]:
    """Return statements `head IN (...) tail` over *values*, 512 of them at a time.

    Lists are filled up to a power of two with their last value, so ten texts serve every length.
    """
    out: list[Statement] = []
    for some in _chunks(values, PARAMS_MAX):
        size = 1 << (len(some) - 1).bit_length()
        some.extend(some[-1:] * (size - len(some)))
        out.append((_in_text(head, size, tail), some))
    return out


@lru_cache(maxsize=1024)
def _insert_text(head: str, columns: int, rows: int, tail: str) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"{head} VALUES {', '.join([row] * rows)} {tail}".rstrip()


@lru_cache(maxsize=256)
def _in_text(head: str, size: int, tail: str) -> str:
    return f"{head} IN ({', '.join('?' * size)}) {tail}".rstrip()


def _chunks(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some
