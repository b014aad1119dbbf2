"""The executor: the child process in which the code of one worker runs.

User code imports its vocabulary from here (`from workmanager_executor import Event, Retry`); the
supervisor imports the frame codec. Nothing outside the standard library and msgpack is needed, and
the code runs on Python 3.8 and later, because a worker may bring its own interpreter.
"""

from __future__ import annotations

from workmanager_executor.context import Context
from workmanager_executor.contract import (
    BatchResult,
    DataError,
    Drop,
    NonRetryable,
    OutputError,
    OutputTooLarge,
    Retry,
)
from workmanager_executor.egress import HttpError, HttpRefused, HttpResponse
from workmanager_executor.event import Event

__all__ = [
    "BatchResult",
    "Context",
    "DataError",
    "Drop",
    "Event",
    "HttpError",
    "HttpRefused",
    "HttpResponse",
    "NonRetryable",
    "OutputError",
    "OutputTooLarge",
    "Retry",
]
