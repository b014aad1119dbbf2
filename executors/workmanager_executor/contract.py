"""What user code raises and returns besides plain values: `from workmanager_executor import Retry`.

Any other exception means: try again by the worker's retry policy, under the exception's class name.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workmanager_executor.event import Event


class Retry(Exception):  # noqa: N818 - an instruction, not an error; named as users write it
    """Run this task again later.

    Args:
        message: Why; kept with the task.
        after: Seconds, or a timedelta, until the next attempt; None leaves it to the retry policy.
    """

    def __init__(self, message: str = "", after: float | timedelta | None = None) -> None:
        super().__init__(message)
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        self.after_s = None if seconds is None else max(0.0, float(seconds))


class NonRetryable(Exception):  # noqa: N818
    """Never run this task again; it becomes a dead letter.

    Args:
        message: Why; kept with the dead letter.
        type: Error type to record; None takes the class name.
    """

    def __init__(self, message: str = "", type: str | None = None) -> None:  # noqa: A002 - its name
        super().__init__(message)
        self.type = type


class Drop(Exception):  # noqa: N818
    """This task needs no handling; it ends as skipped, with *reason*."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class OutputError(NonRetryable):
    """A value cannot become an output event; the message names the place in the value."""


class OutputTooLarge(OutputError):  # noqa: N818 - its name is the error type users see
    """An attempt has more or larger outputs than its worker may have."""


class DataError(NonRetryable, ValueError):
    """The data of an input event is not what its `datacontenttype` says."""


class BatchResult:
    """What `process_batch` returns when some of its events failed.

    Args:
        outputs: Output events of the whole batch.
        failures: The exception of each failed event, by the event itself, its id, or its index.
    """

    __slots__ = ("failures", "outputs")

    def __init__(
        self,
        outputs: Iterable[object] = (),
        failures: Mapping[Event | str | int, BaseException] | None = None,
    ) -> None:
        self.outputs = list(outputs)
        self.failures = dict(failures or {})
