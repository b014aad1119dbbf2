"""Those who follow lines as they come: all who follow the same share what they are told.

A busy worker writes thousands of lines a second, and each goes to everybody who follows. So lines
are kept once for all who follow the same, in handfuls that are encoded once for each door, and the
more follow, the more lines go into one message.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from workmanager.telemetry.bundles import Bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from workmanager.model.resources import LogLine

LINES_KEPT = 4000  # for those who follow the same; the oldest give way
BYTES_KEPT = 8 * 2**20
LINE_BYTES = 400  # of a line beside its text, about


class Handful(Bundle["LogLine"]):
    """Lines that are told together."""

    __slots__ = ()

    @staticmethod
    def weigh(item: LogLine) -> int:
        """Return about what a line weighs in the form of any door."""
        return len(item.text.encode()) + LINE_BYTES


class Audience:
    """All who follow the same lines.

    A position is how many lines there were at a moment when the open handful was closed: so what
    comes after any position begins with a whole handful.

    Attributes:
        size: How many follow.
    """

    def __init__(self) -> None:
        self.size = 0
        self._count = 0  # of all lines, also those that have given way
        self._size_bytes = 0  # of the handfuls that are kept
        self._handfuls: deque[tuple[int, Handful]] = deque()  # with the position of each
        self._open = Handful()  # what no follower has seen yet
        self._arrived = trio.Event()

    def tell(self, line: LogLine) -> None:
        """Take the next line."""
        self._open.add(line)
        self._count += 1
        self._arrived.set()
        if self._open.is_full:
            self._close()

    def position(self) -> int:
        """Return the position after the last line."""
        if self._open:
            self._close()
        return self._count

    async def after(self, position: int) -> list[Handful]:
        """Wait for lines after *position* and return those that are kept."""
        while self._count == position:
            if self._arrived.is_set():
                self._arrived = trio.Event()
            await self._arrived.wait()
        self.position()
        found = deque[Handful]()
        for start, handful in reversed(self._handfuls):
            if start < position:
                break
            found.appendleft(handful)
        return list(found)

    def _close(self) -> None:
        handful, self._open = self._open, Handful()
        self._handfuls.append((self._count - len(handful), handful))
        self._size_bytes += handful.size_bytes
        while self._count - self._handfuls[0][0] > LINES_KEPT or self._size_bytes > BYTES_KEPT:
            _, gone = self._handfuls.popleft()
            self._size_bytes -= gone.size_bytes


class Follower:
    """Reads as one of an audience; how fast is its own business."""

    def __init__(
        self, audience: Audience, kept: Iterable[LogLine], pace_s: Callable[[], float]
    ) -> None:
        self._audience = audience
        self._kept = list(Handful.split(kept))
        self._position = audience.position()
        self._pace_s = pace_s
        self._next_at = trio.current_time()

    async def take(self) -> Sequence[Handful]:
        """Wait for lines and take all that came; one who reads too slowly is told what is lost."""
        await trio.sleep_until(self._next_at)
        if self._kept:
            kept, self._kept = self._kept, []
            return kept
        before = self._position
        handfuls = await self._audience.after(before)
        self._position = self._audience.position()
        self._next_at = trio.current_time() + self._pace_s()
        lost = self._position - before - sum(map(len, handfuls))
        if lost:
            text = f"[{lost} lines were dropped: this reader is too slow]"
            note = {"stream": "supervisor", "level": "WARNING", "text": text}
            handfuls.insert(0, Handful([handfuls[0][0].model_copy(update=note)]))
        return handfuls
