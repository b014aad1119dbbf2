"""The service's own log: structlog, JSON for machines, plain lines on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# Without the values of variables: they hold tokens (a request's headers), events and user code.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_lowest = LEVELS["info"]  # loggers are made once and cached: what they drop is asked here


def configure(*, log_format: str, level: str) -> None:
    """Set the log up once, before anything is logged.

    Args:
        log_format: `json`, `console`, or `auto` (console on a terminal).
        level: The lowest level that is written.
    """
    set_level(level)
    plain = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Processor = structlog.processors.JSONRenderer()
    if plain:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            _drop_low,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _TRACEBACKS if not plain else _as_it_is,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS["debug"]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")


def set_level(level: str) -> None:
    """Change the lowest level that is written, in a service that runs."""
    global _lowest  # noqa: PLW0603 - the log is one for the process
    _lowest = LEVELS[level]


def _drop_low(
    _: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if LEVELS.get(method, LEVELS["error"]) < _lowest:
        raise structlog.DropEvent
    return event


def _as_it_is(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return event
