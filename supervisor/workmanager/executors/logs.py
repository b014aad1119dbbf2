"""Lines from an executor's pipes: bounded, escaped, never a forged record.

User code, C extensions and whatever it starts write to these pipes at will. A line is at most
16 KiB, control characters are escaped, and a flood beyond a byte rate is dropped and counted.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES = 64 * 1024
MAX_LINE_BYTES = 16 * 1024
BURST_BYTES = 1024 * 1024  # what may come at once; it refills at this much a second
LINE_BYTES = 250  # what a line costs beside its own bytes: it is work, however short it is
FLOOD_PAUSE_S = 0.02  # between two reads of a pipe whose bytes are being dropped

# C0 but tab and newline, C1, the separators of lines, and what turns the direction of writing.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    """Make control characters visible, so that no line can pose as another record."""
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", text)


def bounded(text: str) -> str:
    """Return a line that came over the control channel as one from a pipe would look.

    Its sender keeps to the same size; who does not is hostile, and gets no more of our memory.
    """
    return escape(text[:MAX_LINE_BYTES])


class Allowance:
    """A byte budget that refills with time: floods are cut, honest output never is."""

    def __init__(self, burst_bytes: int = BURST_BYTES) -> None:
        self._burst = float(burst_bytes)
        self._left = self._burst
        self._at = 0.0

    def take(self, size_bytes: int, now: float) -> bool:
        """Use *size_bytes* of the budget at *now* (seconds); False if it is used up."""
        self._left = min(self._burst, self._left + (now - self._at) * self._burst)
        self._at = now
        if self._left < size_bytes:
            return False
        self._left -= size_bytes
        return True


class LineReader:
    """Reads a pipe and hands on its lines.

    Args:
        fd: The read end; owned and closed by this object.
        on_line: Called with each line, decoded and escaped.
    """

    def __init__(self, fd: int, on_line: Callable[[str], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._on_line = on_line
        self._rest = b""
        self._allowance = Allowance()
        self.dropped_bytes = 0
        self._dropping = False

    async def run(self) -> None:
        """Read until every writer has closed the pipe."""
        while self._read_some():
            if self._dropping:
                await trio.sleep(FLOOD_PAUSE_S)  # a flood must not keep the loop busy
            await trio.lowlevel.wait_readable(self._fd)

    def close(self) -> None:
        """Read what is left, hand on an unfinished last line, and close."""
        if self._fd < 0:
            return
        self._read_some()
        if self._rest:
            self._emit(self._rest)
        trio.lowlevel.notify_closing(self._fd)
        os.close(self._fd)
        self._fd = -1

    def _read_some(self) -> bool:
        """Read once; False at the end of the pipe."""
        try:
            chunk = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not chunk:
            return False
        cost = len(chunk) + LINE_BYTES * chunk.count(b"\n")
        if self._allowance.take(cost, trio.current_time()):
            self._split(chunk)
        else:
            self._drop(len(chunk))
        return True

    def _split(self, chunk: bytes) -> None:
        if self._dropping:
            self._dropping = False
            self._on_line(f"[{self.dropped_bytes} bytes were dropped: too much within a second]")
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._emit(line)
        if len(self._rest) > MAX_LINE_BYTES:
            self._emit(self._rest)
            self._rest = b""

    def _drop(self, size_bytes: int) -> None:
        self.dropped_bytes += size_bytes
        self._dropping = True
        self._rest = b""

    def _emit(self, line: bytes) -> None:
        self._on_line(escape(line[:MAX_LINE_BYTES].decode("utf-8", "replace")))
