"""The calls about dead letters: look, redrive (one, by filter, to a version, at a rate), purge."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from workmanager.dispatch import finish
from workmanager.dispatch.task import StoredEvent, Task
from workmanager.errors import Fault, InvalidArgumentError, NotFoundError, Reason
from workmanager.model.resources import DeadLetter, Operation, Page, RedriveResult
from workmanager.service import views
from workmanager.service.base import Calls
from workmanager.service.paging import make_token, page_size_of, read_token
from workmanager.store import queries, statements

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from workmanager.service.operations import Operations, Running
    from workmanager.store.rows import DeadLetterRow
    from workmanager.supervisor import Supervisor

CHUNK = 200  # dead letters that go back in one commit


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters a call means: ids, or all that match the filter."""

    ids: tuple[str, ...] | None
    filter: queries.DeadLetterFilter


class DeadLetterCalls(Calls):
    """Dead letters."""

    def __init__(self, supervisor: Supervisor, operations: Operations) -> None:
        super().__init__(supervisor, operations)
        self._going = trio.Lock()  # from looking at dead letters to the commit that deletes them

    async def list_dead_letters(
        self,
        *,
        worker: str | None = None,
        reason: str | None = None,
        error_type: str | None = None,
        event_type: str | None = None,
        page_size: int = 50,
        page_token: str = "",
    ) -> Page[DeadLetter]:
        """Return a page of dead letters, newest first."""
        size = page_size_of(page_size)
        query = (worker, reason, error_type, event_type)
        wanted = self._wanted(None, *query).filter
        position = read_token(page_token, *query)
        before = (float(position[0]), str(position[1])) if position else None
        rows = await self._read(
            lambda db: queries.list_dead_letters(db, wanted, limit=size + 1, before=before)
        )
        token = ""
        if len(rows) > size:
            token = make_token([rows[size - 1].failed_at, rows[size - 1].id], *query)
        return Page(items=[self._view(row) for row in rows[:size]], next_page_token=token)

    async def get_dead_letter(self, dead_letter: str) -> DeadLetter:
        """Return one dead letter with its event.

        Raises:
            NotFoundError: DEAD_LETTER_NOT_FOUND.
        """
        row = await self._read(lambda db: queries.get_dead_letter(db, dead_letter))
        if row is None:
            raise _unknown(dead_letter)
        return self._view(row)

    async def redrive(
        self,
        *,
        ids: Sequence[str] | None = None,
        worker: str | None = None,
        reason: str | None = None,
        error_type: str | None = None,
        event_type: str | None = None,
        target_version: str | None = None,
        max_rate: float | None = None,
    ) -> Operation:
        """Put dead letters back into their workers' inboxes, with their attempts reset.

        A dead letter leaves in the commit that makes its new task durable: none is lost, none is
        handled twice because of a crash.

        Raises:
            NotFoundError: One of *ids*, the worker, or its version is not known.
        """
        wanted = self._wanted(ids, worker, reason, error_type, event_type)
        if target_version is not None:
            self._check_version(worker, target_version)
        if max_rate is not None and not max_rate > 0:
            raise InvalidArgumentError(
                "maxRate must be more than 0", faults=[Fault("maxRate", "must be more than 0")]
            )
        for dead_letter in wanted.ids or ():
            await self.get_dead_letter(dead_letter)

        async def work(operation: Running) -> None:
            await self._redrive_all(operation, wanted, target_version or "", max_rate)

        return self._operations.start("redrive", worker or "*", work)

    async def purge_dead_letters(
        self,
        *,
        ids: Sequence[str] | None = None,
        worker: str | None = None,
        reason: str | None = None,
        error_type: str | None = None,
        event_type: str | None = None,
    ) -> RedriveResult:
        """Delete dead letters for good."""
        wanted = self._wanted(ids, worker, reason, error_type, event_type)
        count = 0
        async with aclosing(self._pages(wanted, CHUNK)) as pages:
            async for some in pages:
                async with self._going:
                    left = await self._still_there(some)
                    gone = statements.delete_dead_letters(row.id for row in left)
                    await self._sup.core.ledger.commit(gone)
                self._tell_gone(left)
                count += len(left)
        await self._sup.count_dead_letters()
        return RedriveResult(count=count)

    # -- inside ------------------------------------------------------------------------------

    async def _redrive_all(
        self, operation: Running, wanted: Wanted, version: str, max_rate: float | None
    ) -> None:
        count = 0
        chunk = CHUNK if max_rate is None else max(1, min(CHUNK, int(max_rate / 10)))
        operation.result = {"count": 0}
        async with aclosing(self._pages(wanted, chunk)) as pages:
            async for some in pages:
                count += await self._redrive(some, version)
                operation.progress = f"{count} went back"
                operation.result = {"count": count}
                if max_rate is not None:
                    await trio.sleep(len(some) / max_rate)
        await self._sup.count_dead_letters()

    async def _redrive(self, rows: Sequence[DeadLetterRow], version: str) -> int:
        """Put *rows* back in one commit, those that still are there and whose worker exists."""
        ledger = self._sup.core.ledger
        went: list[DeadLetterRow] = []
        async with self._going:
            for row in await self._still_there(rows):
                worker = self._sup.core.workers.get(row.worker_no)
                if worker is None:
                    continue
                event = StoredEvent(row.topic, row.wire)
                task: Task = ledger.accept(event, [row.worker_no], external=True)[0]
                task.asked_version = version if version != worker.version else ""
                finish.remember_version(self._sup.core, worker, task)
                worker.pending += 1
                worker.pending_bytes += task.size_bytes
                went.append(row)
            if went:
                await ledger.commit(statements.delete_dead_letters(row.id for row in went))
                self._tell_gone(went)
        return len(went)

    def _tell_gone(self, rows: Sequence[DeadLetterRow]) -> None:
        if self._sup.core.watch is not None:
            self._sup.core.watch.dead_letters_gone(rows)

    async def _pages(self, wanted: Wanted, size: int) -> AsyncGenerator[list[DeadLetterRow], None]:
        """Give the wanted dead letters, oldest first; none that is given up from now on."""
        if wanted.ids is not None:
            for start in range(0, len(wanted.ids), size):
                yield await self._by_id(wanted.ids[start : start + size])
            return
        until, after = time.time(), (0.0, "")
        while True:
            rows = await self._page(wanted.filter, size, until, after)
            if not rows:
                return
            yield rows
            after = (rows[-1].failed_at, rows[-1].id)

    async def _page(
        self, wanted: queries.DeadLetterFilter, size: int, until: float, after: queries.TimeKey
    ) -> list[DeadLetterRow]:
        return await self._read(
            lambda db: queries.oldest_dead_letters(db, wanted, limit=size, until=until, after=after)
        )

    async def _still_there(self, rows: Sequence[DeadLetterRow]) -> list[DeadLetterRow]:
        """Return those of *rows* that nobody has redriven or purged meanwhile.

        Raises:
            StoreError: The store refuses writes.
        """
        self._sup.core.ledger.check()
        return await self._by_id([row.id for row in rows])

    async def _by_id(self, ids: Sequence[str]) -> list[DeadLetterRow]:
        found = await self._read(lambda db: [queries.get_dead_letter(db, one) for one in ids])
        return [row for row in found if row is not None]

    def _wanted(
        self,
        ids: Sequence[str] | None,
        worker: str | None,
        reason: str | None,
        error_type: str | None,
        event_type: str | None,
    ) -> Wanted:
        number = self._keeper(worker).record.no if worker else None
        return Wanted(
            tuple(ids) if ids is not None else None,
            queries.DeadLetterFilter(number, reason or "", error_type or "", event_type or ""),
        )

    def _check_version(self, worker: str | None, version: str) -> None:
        if worker is None:
            detail = "needs a worker beside it: versions belong to one"
            raise InvalidArgumentError(
                f"targetVersion {detail}", faults=[Fault("targetVersion", detail)]
            )
        if version not in self._keeper(worker).record.versions:
            raise NotFoundError(
                f"worker {worker!r} has no version {version!r}", reason=Reason.VERSION_NOT_FOUND
            )

    def _view(self, row: DeadLetterRow) -> DeadLetter:
        keeper = self._keeper_of_number(row.worker_no)
        return views.dead_letter(keeper.record.name if keeper else "", row)


def _unknown(dead_letter: str) -> NotFoundError:
    return NotFoundError(
        f"there is no dead letter {dead_letter[:80]!r}; it may have been redriven or purged",
        reason=Reason.DEAD_LETTER_NOT_FOUND,
    )
