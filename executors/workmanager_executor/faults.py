"""Exceptions of user code turned into outcomes: a status, a type, a message, user frames only."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import traceback
from typing import TYPE_CHECKING

from workmanager_executor.contract import Drop, NonRetryable, Retry

if TYPE_CHECKING:
    from typing import List, Optional, Tuple

    Fault = List[object]
    Verdict = Tuple[int, List[List[object]], Optional[Fault]]

STATUS_OK = 0
STATUS_ERROR = 1
STATUS_RETRY = 2
STATUS_NON_RETRYABLE = 3
STATUS_DROP = 4
STATUS_CANCELLED = 5

MAX_MESSAGE_BYTES = 4 * 1024
MAX_TRACEBACK_BYTES = 16 * 1024
MAX_FAULT_BYTES = MAX_MESSAGE_BYTES + MAX_TRACEBACK_BYTES
_MAX_FRAMES = 50
_MAX_TYPE_CHARS = 200

_OUR_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
_CANCELLATIONS = (asyncio.CancelledError, concurrent.futures.CancelledError)


def verdict_on(error: BaseException) -> Verdict:
    """Return the outcome that *error* means."""
    kind, message = type(error).__name__, text_of(error)
    if isinstance(error, Retry):
        return STATUS_RETRY, [], fault(kind, message, "", error.after_s)
    if isinstance(error, Drop):
        return STATUS_DROP, [], fault(kind, message, "", None)
    if isinstance(error, _CANCELLATIONS):
        return STATUS_CANCELLED, [], fault("Cancelled", message, "", None)
    trace = user_traceback(error)
    if isinstance(error, NonRetryable):
        return STATUS_NON_RETRYABLE, [], fault(error.type or kind, message, trace, None)
    return STATUS_ERROR, [], fault(kind, message, trace, None)


def cancelled_verdict() -> Verdict:
    """Return the outcome of an attempt that was cancelled before its handler was entered."""
    return STATUS_CANCELLED, [], fault("Cancelled", "cancelled before it began", "", None)


def fault(kind: str, message: str, trace: str, after_s: float | None) -> Fault:
    """Return an error in wire form, its texts bounded and free of what cannot be encoded."""
    kind = clean(str(kind), _MAX_TYPE_CHARS)
    return [kind, clean(message, MAX_MESSAGE_BYTES), clean_tail(trace), after_s]


def text_of(error: BaseException) -> str:
    """Return the message of *error*, even if its `__str__` fails."""
    try:
        return str(error)
    except BaseException as failure:  # noqa: BLE001 - user code
        return f"<its message cannot be shown: {type(failure).__name__}>"


def clean(text: str, limit_bytes: int) -> str:
    """Return the head of *text* that fits, with lone surrogates escaped."""
    return _to_bytes(text[:limit_bytes])[:limit_bytes].decode("utf-8", "ignore")


def clean_tail(text: str) -> str:
    """Return the tail of a traceback that fits: its end says what happened."""
    raw = _to_bytes(text[-MAX_TRACEBACK_BYTES:])
    return raw[-MAX_TRACEBACK_BYTES:].decode("utf-8", "ignore")


def user_traceback(error: BaseException) -> str:
    """Return the traceback of *error*, its causes included, without the frames of the runtime."""
    try:
        shown = traceback.TracebackException.from_exception(error, limit=-_MAX_FRAMES)
        _hide_our_frames(shown)
        return "".join(shown.format())
    except BaseException as failure:  # noqa: BLE001 - hostile __str__, sources, linecache entries
        return f"<the traceback cannot be shown: {type(failure).__name__}>\n"


def user_line(error: BaseException, file: str) -> int | None:
    """Return the innermost line of *file* in the traceback of *error*."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _hide_our_frames(shown: traceback.TracebackException) -> None:
    seen: set[int] = set()
    waiting = [shown]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        current.stack[:] = [frame for frame in current.stack if not _is_ours(frame.filename)]
        chained = [current.__cause__, current.__context__, *_members(current)]
        waiting += [other for other in chained if other is not None]


def _members(shown: traceback.TracebackException) -> list[traceback.TracebackException]:
    return list(getattr(shown, "exceptions", None) or [])  # groups exist from 3.11 on


def _is_ours(filename: str) -> bool:
    return filename.startswith((_OUR_FOLDER, "<frozen importlib"))


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
