"""What a runtime wrote to stderr before it gave up: its report of a crash, or the last few lines.

.NET and CPython's faulthandler begin such a report with words of their own; what was written before
it belongs to somebody else.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINES = 100  # a stack overflow's report names each function once, with how often it repeats
MAX_LINE_CHARS = 500
LAST_LINES = 20  # where nothing tells that it is a report
_OPENING = re.compile(
    r"Unhandled exception\. |Stack overflow\.|Process terminated\.|Out of memory\."
    r"|Fatal error\.|Fatal Python error: "
)


class LastWords:
    """Lines of stderr, the first of a report kept, else the last ones."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._report: list[str] = []

    def add(self, line: str) -> None:
        """Take a line."""
        line = line[:MAX_LINE_CHARS]
        if _OPENING.match(line):
            self._report = [line]
        elif not self._report:
            self._lines.append(line)
        elif len(self._report) < MAX_LINES:
            self._report.append(line)

    def mask(self, mask: Callable[[str], str]) -> None:
        """Put every line through *mask*."""
        self._report = [mask(line) for line in self._report]
        self._lines = deque(map(mask, self._lines), maxlen=LAST_LINES)

    @property
    def opening(self) -> str:
        """The first line of a report; "" if there is none."""
        return self._report[0] if self._report else ""

    @property
    def text(self) -> str:
        """The report, else the last lines."""
        return "\n".join(self._report or self._lines)
