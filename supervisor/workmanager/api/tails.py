"""What followers of log lines share, at every door: the pace, and the encoding of a line.

A busy worker writes thousands of lines a second, and each goes to everybody who follows. So a line
is encoded once for a door, and the more follow, the more lines go into one message.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workmanager.model.resources import LogLine

LINES_CACHED = 4096
PACE_PER_TAIL_S = 0.005  # between two messages of a tail: 200 a second, however many follow
PACE_MIN_S = 0.02
PACE_MAX_S = 0.5  # a follower's queue holds what a busy host writes meanwhile


class Tails:
    """How many follow; owned by the trio loop."""

    def __init__(self) -> None:
        self._open = 0

    @property
    def pace_s(self) -> float:
        """Seconds to leave between two messages of one tail."""
        return min(PACE_MAX_S, max(PACE_MIN_S, PACE_PER_TAIL_S * self._open))

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count one that follows."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


TAILS = Tails()  # of all doors


class LineCache:
    """Encodes lines, each once; for one thread."""

    def __init__(self, encode: Callable[[LogLine], bytes]) -> None:
        self._encode = encode
        self._found: OrderedDict[int, tuple[LogLine, bytes]] = OrderedDict()  # by id()

    def __call__(self, line: LogLine) -> bytes:
        """Return the encoding of *line*."""
        found = self._found.get(id(line))
        if found is not None and found[0] is line:
            return found[1]
        encoded = self._encode(line)
        self._found[id(line)] = (line, encoded)  # keeps the line alive, and so its id its own
        if len(self._found) > LINES_CACHED:
            self._found.popitem(last=False)
        return encoded
