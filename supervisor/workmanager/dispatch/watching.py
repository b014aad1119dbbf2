"""What is told to those who watch, if anybody does.

Nobody watching means that `Core.watch` is None, and one check for None per batch is all that the
hot path pays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.dispatch.task import Task
    from workmanager.executors.executor import Executor
    from workmanager.store.rows import DeadLetterRow


class Observer(Protocol):
    """Takes notice of changes; no call blocks or raises."""

    def worker_changed(self, uid: str) -> None:
        """A worker's declaration, state or executors changed."""

    def worker_gone(self, uid: str) -> None:
        """A worker is about to be forgotten."""

    def accepted(self, tasks: Sequence[Task]) -> None:
        """Tasks are durable now."""

    def handed_out(self, executor: Executor, tasks: Sequence[Task]) -> None:
        """An executor was given tasks."""

    def delayed(self, task: Task) -> None:
        """A task waits for its next attempt."""

    def settled(self, rows: Sequence[tuple[object, ...]]) -> None:
        """The end of tasks is durable now; the rows are those of `Commit.history`."""

    def dead_letter_kept(self, row: DeadLetterRow) -> None:
        """A dead letter becomes durable with the outcomes that are open now."""

    def dead_letters_gone(self, rows: Sequence[DeadLetterRow]) -> None:
        """Dead letters were redriven or purged."""
