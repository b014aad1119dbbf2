"""Who is told of an executor's news."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from workmanager.executors.executor import Executor


class Listener(Protocol):
    """Takes an executor's news; calls must not block and must not raise."""

    def executor_done(self, executor: Executor, outcomes: list[list[Any]]) -> None:
        """Take checked outcomes `[no, status, duration_us, outputs, error]` of tasks in hand."""

    def executor_line(
        self, executor: Executor, stream: str, level: str, task: int | None, text: str
    ) -> None:
        """Take one line that user code wrote; *task* is the number of the task it belongs to."""

    def executor_exited(self, executor: Executor) -> None:
        """Take notice of its end; `executor.exit` says how, `executor.hand` what it had."""
