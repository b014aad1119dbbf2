"""What changed of tasks since the last round: the latest of each, shown only when it is told."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from workmanager.service import views
from workmanager.store.queries import HistoryEntry
from workmanager.telemetry.changes import ADDED, MODIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from workmanager.dispatch.task import Task
    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.model.resources import Task as TaskView

NOTES_MAX = 50_000  # tasks; more between two rounds cannot be told
PER_ROUND = 1000


class Told(NamedTuple):
    """One change of a task."""

    type: str
    worker: str
    view: TaskView


@dataclass(slots=True)
class _Note:
    """The latest of a task: open, with who has it, or settled, with its row of history."""

    is_new: bool
    task: Task | None = None
    holder: Executor | None = None
    row: tuple[object, ...] | None = None


class TaskNotes:
    """Notes by task number."""

    def __init__(self) -> None:
        self._notes: dict[int, _Note] = {}

    def __len__(self) -> int:
        return len(self._notes)

    def is_overrun(self) -> bool:
        """Tell whether more has changed than can be told."""
        return len(self._notes) > NOTES_MAX

    def clear(self) -> None:
        """Forget all notes."""
        self._notes.clear()

    def accepted(self, tasks: Sequence[Task]) -> None:
        """Note new tasks."""
        for task in tasks:
            self._notes[task.number] = _Note(is_new=True, task=task)

    def moved(self, tasks: Sequence[Task], holder: Executor | None) -> None:
        """Note open tasks that *holder* was given, or that wait again."""
        for task in tasks:
            note = self._notes.get(task.number)
            if note is not None:
                note.task, note.holder = task, holder
            elif task.number > 0:  # those of a dry run are below
                self._notes[task.number] = _Note(is_new=False, task=task, holder=holder)

    def settled(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Note tasks that have ended, by their rows of history."""
        for row in rows:
            number = row[0]
            assert isinstance(number, int)  # noqa: S101 - see HistoryEntry
            before = self._notes.get(number)
            self._notes[number] = _Note(before is not None and before.is_new, row=row)

    def take(self, keepers: Mapping[int, Keeper]) -> Iterator[Told]:
        """Show the oldest notes and forget them; notes of workers that are gone are dropped."""
        for number in list(islice(self._notes, PER_ROUND)):
            note = self._notes.pop(number, None)
            told = _show(note, keepers) if note is not None else None
            if told is not None:
                yield told


def _show(note: _Note, keepers: Mapping[int, Keeper]) -> Told | None:
    type_ = ADDED if note.is_new else MODIFIED
    if note.row is not None:
        entry = HistoryEntry(*note.row)  # type: ignore[arg-type]  # a row has its order
        keeper = keepers.get(entry.worker_no)
        if keeper is None:
            return None
        name, most = keeper.record.name, keeper.record.spec.retry.maximum_attempts
        return Told(type_, name, views.settled_task(name, most, entry))
    assert note.task is not None  # noqa: S101 - it is open, then
    keeper = keepers.get(note.task.worker_no)
    if keeper is None:
        return None
    holder = note.holder if note.holder is not None and note.holder.exit is None else None
    return Told(type_, keeper.record.name, views.task_in(keeper, note.task, holder))
