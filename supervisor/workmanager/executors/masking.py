"""Keeps the secrets of a worker out of what it writes and of the errors it raises.

A safety net for lines that show what they should not; code that means to give a secret away can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workmanager.errors import WorkManagerError
    from workmanager.executors.executor import Executor
    from workmanager.executors.listener import Listener

MASK = "***"


def masking(listener: Listener, secrets: tuple[str, ...]) -> Listener:
    """Return a listener that hands on everything with *secrets* masked."""
    return _Masking(listener, secrets) if secrets else listener


def masked(error: WorkManagerError, secrets: tuple[str, ...]) -> WorkManagerError:
    """Return the same error with *secrets* masked; its cause, which may show them, is dropped."""
    if not secrets:
        return error
    shown = type(error)(
        _mask(str(error), secrets),
        reason=error.reason,
        metadata={name: _mask(text, secrets) for name, text in error.metadata.items()},
        faults=[type(f)(f.pointer, _mask(f.detail, secrets)) for f in error.faults],
    )
    shown.retry_after_s = error.retry_after_s
    return shown


class _Masking:
    """A listener in front of another one."""

    def __init__(self, listener: Listener, secrets: tuple[str, ...]) -> None:
        self._listener = listener
        self._secrets = secrets

    def executor_done(self, executor: Executor, outcomes: list[list[Any]]) -> None:
        """Mask errors: type, message, traceback."""
        for outcome in outcomes:
            if outcome[4] is not None:
                outcome[4] = [
                    _mask(part, self._secrets) if isinstance(part, str) else part
                    for part in outcome[4]
                ]
        self._listener.executor_done(executor, outcomes)

    def executor_line(
        self, executor: Executor, stream: str, level: str, task: int | None, text: str
    ) -> None:
        """Mask a line."""
        self._listener.executor_line(executor, stream, level, task, _mask(text, self._secrets))

    def executor_exited(self, executor: Executor) -> None:
        """Mask its last words."""
        executor.last_words.mask(lambda line: _mask(line, self._secrets))
        self._listener.executor_exited(executor)


def _mask(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text
