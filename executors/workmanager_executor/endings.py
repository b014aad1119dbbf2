"""How this process ends when it cannot go on, from whatever thread finds out."""

from __future__ import annotations

import os
import traceback
from typing import NoReturn

from workmanager_executor.exits import EXIT_CRASHED, EXIT_PROTOCOL
from workmanager_executor.job import ProtocolError


def end_because_of(error: BaseException) -> NoReturn:
    """End at once, with the reason on the real stderr and in the exit code.

    What comes out of the runtime's own loops is a broken protocol, a channel whose other end has
    gone, or an exit that user code asked for in a callback of the event loop.
    """
    if isinstance(error, ProtocolError):
        end(EXIT_PROTOCOL, f"protocol error: {error}\n")
    if isinstance(error, OSError):
        end(EXIT_PROTOCOL, f"the supervisor has gone: {error}\n")
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    end(EXIT_CRASHED, "".join(lines))


def supervisor_gone() -> NoReturn:
    """End at once: nobody is left to take an outcome."""
    os._exit(EXIT_PROTOCOL)


def end(code: int, words: str) -> NoReturn:
    """End with *code*; threads that user code left running do not hold us."""
    try:
        os.write(2, words.encode("utf-8", "backslashreplace"))
    except OSError:  # nobody reads it any more
        os._exit(code)
    os._exit(code)
