"""The calls about tasks: open ones from memory, settled ones from the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.dispatch import deadlines, finish
from workmanager.dispatch import outcome as words
from workmanager.dispatch.handout import pump
from workmanager.errors import ConflictError, NotFoundError, Reason
from workmanager.model.resources import Page, Task
from workmanager.model.states import TERMINAL_TASK_STATUSES, TaskStatus
from workmanager.service import views
from workmanager.service.base import Calls
from workmanager.service.paging import make_token, page_size_of, read_token
from workmanager.store import queries

if TYPE_CHECKING:
    from workmanager.dispatch.task import Task as OpenTask
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.store.queries import HistoryEntry


class TaskCalls(Calls):
    """Tasks."""

    async def list_tasks(
        self,
        *,
        worker: str | None = None,
        status: TaskStatus | None = None,
        page_size: int = 50,
        page_token: str = "",
    ) -> Page[Task]:
        """Return a page of tasks: open ones (newest first), then settled ones, newest first."""
        size = page_size_of(page_size)
        keeper = self._keeper(worker) if worker is not None else None
        query = (worker, status)
        position = read_token(page_token, *query) or [None, 0]
        below, before = position
        shown: list[Task] = []
        if before == 0 and status not in TERMINAL_TASK_STATUSES:
            shown = self._open_page(keeper, status, below, size + 1)
            if len(shown) > size:
                token = make_token([int(shown[size - 1].id, 16), 0], *query)
                return Page(items=shown[:size], next_page_token=token)
        if status in (TaskStatus.SCHEDULED, TaskStatus.IN_PROGRESS) or len(shown) == size:
            ends = status in (TaskStatus.SCHEDULED, TaskStatus.IN_PROGRESS)
            token = "" if ends else make_token([0, 0], *query)
            return Page(items=shown, next_page_token=token)
        number = keeper.record.no if keeper else None
        found = await self._read(
            lambda db: queries.list_history(
                db,
                limit=size - len(shown),
                worker_no=number,
                status=status.value if status else "",
                before=before,
            )
        )
        shown += [self._settled(entry) for entry in found.entries]
        token = make_token([0, found.before], *query) if found.before else ""
        return Page(items=shown, next_page_token=token)

    async def get_task(self, task: str) -> Task:
        """Return one task.

        Raises:
            NotFoundError: It never was, or its history is forgotten (TASK_NOT_FOUND).
        """
        number = _number(task)
        keeper, held = self._open(number)
        if keeper is not None and held is not None:
            return views.open_task(keeper, held)
        entry = await self._read(lambda db: queries.get_history(db, number))
        if entry is None:
            raise _unknown(task)
        return self._settled(entry)

    async def cancel_task(self, task: str) -> Task:
        """Cancel a task: one that waits at once, one that runs by asking, then by killing.

        Raises:
            ConflictError: It is settled already (INVALID_STATE).
        """
        number = _number(task)
        keeper, held = self._open(number)
        if keeper is None or held is None:
            settled = await self.get_task(task)
            raise ConflictError(f"task {task} is {settled.status.value} already")
        core, dispatch = self._sup.core, keeper.dispatch
        held.canceled = True
        if dispatch.inbox_of(held).claim(held) or dispatch.acquit(held):
            finish.end(core, dispatch, held, TaskStatus.CANCELED, reason=words.CANCELED)
        else:
            for executor in keeper.executors.values():
                deadlines.cancel(core, dispatch, executor, held)
            return views.open_task(keeper, held)
        tickets = core.ledger.outcome_ticket()
        core.ledger.flush()
        await tickets.wait()
        return await self.get_task(task)

    async def retry_task(self, task: str) -> Task:
        """Hand out a delayed task now.

        Raises:
            ConflictError: It is settled, or is not delayed (INVALID_STATE).
        """
        number = _number(task)
        keeper, held = self._open(number)
        if keeper is None or held is None:
            settled = await self.get_task(task)
            raise ConflictError(
                f"task {task} is {settled.status.value}; redrive its dead letter instead"
            )
        inbox = keeper.dispatch.inbox_of(held)
        if not held.due_at or not inbox.claim(held):
            raise ConflictError(f"task {task} is not waiting for a later time")
        held.due_at = 0.0
        inbox.give_back([held])
        pump(self._sup.core, keeper.dispatch)
        return views.open_task(keeper, held)

    def _open(self, number: int) -> tuple[Keeper | None, OpenTask | None]:
        for keeper in self._keepers():
            dispatch = keeper.dispatch
            for inbox in (dispatch.inbox, *dispatch.sides.values()):
                held = inbox.find(number)
                if held is not None:
                    return keeper, held
        return None, None

    def _open_page(
        self, keeper: Keeper | None, status: TaskStatus | None, below: int | None, limit: int
    ) -> list[Task]:
        keepers = [keeper] if keeper is not None else list(self._keepers())
        found = [
            (task.number, owner, task)
            for owner in keepers
            for inbox in (owner.dispatch.inbox, *owner.dispatch.sides.values())
            for task in inbox.tasks()
            if task.number > 0 and (below is None or task.number < below)
        ]
        found.sort(key=lambda entry: -entry[0])
        shown: list[Task] = []
        for _, owner, task in found:
            view = views.open_task(owner, task)
            if status is None or view.status is status:
                shown.append(view)
                if len(shown) == limit:
                    break
        return shown

    def _settled(self, entry: HistoryEntry) -> Task:
        keeper = self._keeper_of_number(entry.worker_no)
        if keeper is None:
            return views.settled_task(f"(deleted {entry.worker_no})", entry.attempt, entry)
        most = keeper.record.spec.retry.maximum_attempts
        return views.settled_task(keeper.record.name, most, entry)


def _number(task: str) -> int:
    try:
        number = int(task, 16)
    except ValueError:
        raise _unknown(task) from None
    if not 0 < number < 2**63 or f"{number:x}" != task:
        raise _unknown(task)
    return number


def _unknown(task: str) -> NotFoundError:
    return NotFoundError(
        f"there is no task {task[:80]!r}; settled tasks are forgotten after a while",
        reason=Reason.TASK_NOT_FOUND,
    )
