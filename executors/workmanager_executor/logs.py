"""Lines that user code writes, sent as log lines of the attempt that wrote them.

print(), sys.stderr and logging end up here. What goes to descriptor 1 or 2 directly (C code, child
processes) goes through a pipe to the supervisor instead. A line is sent at once, not collected: the
last line before a crash is the one that is wanted.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from time import monotonic
from typing import TYPE_CHECKING

from workmanager_executor.attempt import current
from workmanager_executor.faults import clean

if TYPE_CHECKING:
    from workmanager_executor.attempt import Attempt
    from workmanager_executor.writer import FrameWriter

MAX_LINE_BYTES = 16 * 1024
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
OUTSIDE_WINDOW_S = 10.0  # outside of attempts the limit holds per window of this length

_ATTEMPT_FIELD = "workmanager_attempt"
_DEFAULT_LIMIT_BYTES = 64 * 1024


class LogBook:
    """What one attempt, or the time outside of attempts, has logged so far."""

    __slots__ = ("dropped_bytes", "dropped_lines", "since_s", "unfinished", "used_bytes")

    def __init__(self) -> None:
        self.used_bytes = 0
        self.dropped_lines = 0
        self.dropped_bytes = 0
        self.since_s = monotonic()
        self.unfinished: dict[str, str] = {}  # level -> text without its newline as yet


class LogSink:
    """Sends log lines, bounded per attempt."""

    def __init__(self) -> None:
        self.limit_bytes = _DEFAULT_LIMIT_BYTES  # until the job says more
        self._control: FrameWriter | None = None
        self._outside = LogBook()

    def connect(self, control: FrameWriter | None) -> None:
        """Send lines to *control* from now on; while there is none, to the real stderr."""
        self._control = control

    def line(self, attempt: Attempt | None, level: str, text: str) -> None:
        """Send one line of *attempt*, or count it as dropped."""
        book = self._book(attempt)
        text = clean(text, MAX_LINE_BYTES)
        size = len(text.encode())
        if book.used_bytes + size > self.limit_bytes:
            book.dropped_lines += 1
            book.dropped_bytes += size
            return
        book.used_bytes += size
        self._send(_number(attempt), level, text)

    def write(self, level: str, text: str) -> None:
        """Take a piece of text as a stream does: whole lines go out, the rest waits for its end."""
        attempt = current.get()
        book = self._book(attempt)
        *lines, rest = (book.unfinished.pop(level, "") + text).split("\n")
        for line in lines:
            self.line(attempt, level, line)
        if len(rest) >= MAX_LINE_BYTES:
            self.line(attempt, level, rest)
        elif rest:
            book.unfinished[level] = rest

    def close(self, attempt: Attempt | None) -> None:
        """Send what waits for its newline, and say how much was dropped."""
        book = self._book(attempt)
        for level in list(book.unfinished):
            self.line(attempt, level, book.unfinished.pop(level))
        self._tell_dropped(_number(attempt), book)

    def _book(self, attempt: Attempt | None) -> LogBook:
        if attempt is None or attempt.is_done:
            return self._outside_book()
        if attempt.log is None:
            attempt.log = LogBook()
        return attempt.log

    def _outside_book(self) -> LogBook:
        """Return the book outside of attempts; it starts anew with each window."""
        book = self._outside
        if monotonic() - book.since_s > OUTSIDE_WINDOW_S:
            self._outside = LogBook()
            self._outside.unfinished = book.unfinished
            self._tell_dropped(None, book)
        return self._outside

    def _tell_dropped(self, no: int | None, book: LogBook) -> None:
        if book.dropped_lines:
            self._send(
                no,
                "WARNING",
                f"{book.dropped_lines} more lines of {book.dropped_bytes} bytes were dropped: "
                f"{self.limit_bytes} bytes may be logged",
            )

    def _send(self, no: int | None, level: str, text: str) -> None:
        if self._control is None:
            os.write(2, f"{text}\n".encode())
        else:
            self._control.send(["log", no, level, text])


class LogStream(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr.

    `fileno()` and `buffer` are the real descriptor: child processes and raw writers use the pipe.
    """

    def __init__(self, sink: LogSink, *, level: str, fd: int) -> None:
        super().__init__()
        self._sink = sink
        self._level = level
        self._fd = fd
        self.buffer = open(fd, "wb", buffering=0, closefd=False)  # noqa: SIM115 - lives as long

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in the base class
        """Text leaves as UTF-8."""
        return "utf-8"

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """Return the real descriptor."""
        return self._fd

    def write(self, text: str) -> int:
        """Send the whole lines in *text*."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._sink.write(self._level, text)
        return len(text)


class LogHandler(logging.Handler):
    """Sends records of the logging module."""

    def __init__(self, sink: LogSink) -> None:
        super().__init__()
        self.sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Send *record*, tracebacks included, as one line of its attempt."""
        try:
            attempt = getattr(record, _ATTEMPT_FIELD, None) or current.get()
            self.sink.line(attempt, level_name(record.levelno), self.format(record))
        except Exception:  # noqa: BLE001 - a format that fails is user code, logging reports it
            self.handleError(record)


def level_name(number: int) -> str:
    """Return the standard level at or below *number*."""
    return LEVELS[min(max(number // 10 - 1, 0), len(LEVELS) - 1)]


def logger_of(attempt: Attempt | None) -> logging.LoggerAdapter[logging.Logger]:
    """Return a logger whose lines belong to *attempt*, from whatever thread they come."""
    logger = logging.getLogger("worker")
    return logging.LoggerAdapter(logger, {_ATTEMPT_FIELD: attempt})


def capture_output() -> LogSink:
    """Send what is printed and logged, from INFO on, to the sink that is returned.

    The zygote does this once, so that its executors need not.
    """
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, LogHandler):
            return handler.sink
    sink = LogSink()
    sys.stdout = LogStream(sink, level="INFO", fd=1)
    sys.stderr = LogStream(sink, level="ERROR", fd=2)
    root.handlers[:] = [LogHandler(sink)]
    root.setLevel(logging.INFO)
    return sink


def _number(attempt: Attempt | None) -> int | None:
    return None if attempt is None or attempt.is_done else attempt.no
