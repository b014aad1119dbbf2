"""Progress of long work: one line on stderr, rewritten, and only on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from workmanager.cli.text import format_seconds, sanitize

if TYPE_CHECKING:
    from types import TracebackType

    from workmanager.client.light import LightClient

FIRST_POLL_S = 0.02
SLOWEST_POLL_S = 0.5
POLL_GROWTH = 1.5
_CLEAR_LINE = "\r\x1b[K"


class Progress:
    """A line that says what is going on and for how long; gone when the work is over."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._began_at_s = time.monotonic()
        self._is_shown = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_shown:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()

    def show(self, text: str) -> None:
        """Replace what the line says."""
        if self._is_shown:
            passed = format_seconds(time.monotonic() - self._began_at_s)
            sys.stderr.write(f"{_CLEAR_LINE}{sanitize(self._label)}: {sanitize(text)} ({passed})")
            sys.stderr.flush()


class Poll:
    """The pauses between two looks: short at first, then longer, never past the deadline."""

    def __init__(self, timeout_s: float | None) -> None:
        self._pause_s = FIRST_POLL_S
        self._ends_at_s = None if timeout_s is None else time.monotonic() + timeout_s

    def wait(self) -> bool:
        """Pause; return False, at once, when the time is up."""
        pause_s = self._pause_s
        if self._ends_at_s is not None:
            pause_s = min(pause_s, self._ends_at_s - time.monotonic())
        if pause_s <= 0:
            return False
        time.sleep(pause_s)
        self._pause_s = min(self._pause_s * POLL_GROWTH, SLOWEST_POLL_S)
        return True


def await_operation(client: LightClient, operation: dict[str, Any]) -> dict[str, Any]:
    """Wait until *operation* is done, showing its progress; Ctrl-C leaves it going on."""
    poll = Poll(None)
    with Progress(f"{operation['kind']} {operation['target']}") as progress:
        while not operation["done"]:
            progress.show(operation.get("progress") or "working")
            poll.wait()
            operation = client.get_operation(operation["id"])
    return operation
