"""The calls that follow: what there is, then each change, until the caller has seen enough."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import trio

from workmanager.errors import Fault, InvalidArgumentError, WorkManagerError
from workmanager.model.states import WorkerState
from workmanager.service import views
from workmanager.service.base import Calls
from workmanager.store import queries
from workmanager.telemetry.changes import ADDED, Change, Kind
from workmanager.telemetry.processes import GONE, usages_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence

    from pydantic import BaseModel

    from workmanager.lifecycle.keeper import Keeper
    from workmanager.service.observer import Observer
    from workmanager.telemetry.watch import Watcher

BOOKMARK_S = 30.0  # a quiet stream says how far it is; a peer that is gone is found that way
LISTED = 100  # things in one message of the list that a stream begins with
TASKS_LISTED = 10_000  # open tasks that a stream begins with, the oldest
DEAD_LETTERS_LISTED = 1000  # dead letters that a stream begins with, the newest


class Watch:
    """One stream of changes.

    Attributes:
        dropped: Set once it was cut off for reading too slowly; `take` raises then.
    """

    def __init__(self, watcher: Watcher, first: AsyncGenerator[list[Change], None] | None) -> None:
        self.dropped = watcher.dropped
        self._watcher = watcher
        self._first = first

    async def take(self) -> Sequence[Change]:
        """Wait for the next changes, a handful or more at once.

        Raises:
            SlowReaderError: The stream was cut off.
        """
        if self._first is not None:
            chunk = await anext(self._first, None)
            if chunk is not None:
                return chunk
            self._first = None
        with trio.move_on_after(BOOKMARK_S):
            return await self._watcher.take()
        return [self._watcher.bookmark()]


class WatchCalls(Calls):
    """Watch."""

    _observer: Observer

    @asynccontextmanager
    async def watch(
        self, kinds: Sequence[str], *, worker: str = "", resume_token: str = ""
    ) -> AsyncIterator[Watch]:
        """Follow *kinds* (workers, executors, tasks, deadLetters), of one worker or of all.

        Without a token the stream begins with what there is and a bookmark. Dead letters above
        64 KiB come without their event's data.

        Raises:
            NotFoundError: There is no such worker.
            ResumeTokenError: What has happened since the token is not known any more.
            WorkManagerError: Too many watch already (QUOTA_EXCEEDED).
        """
        wanted = _kinds(kinds)
        keeper = self._keeper(worker) if worker else None
        name = keeper.record.name if keeper is not None else ""
        self._observer.record(wanted)
        try:
            watcher = self._observer.feed.watch(wanted, worker=name, after=resume_token)
        except WorkManagerError:
            self._observer.rest_later()
            raise
        try:
            async with aclosing(self._begin(wanted, keeper, watcher.bookmark())) as first:
                yield Watch(watcher, None if resume_token else first)
        finally:
            watcher.close()
            self._observer.rest_later()

    def serving(self, worker: str) -> bool | None:
        """Tell whether a worker takes events; None: there is no such worker."""
        keeper = self._find(worker)
        if keeper is None or not keeper.is_declared:
            return None
        return keeper.state is WorkerState.RUNNING and bool(keeper.dispatch.ready_executors())

    async def _begin(
        self, kinds: Sequence[Kind], keeper: Keeper | None, bookmark: Change
    ) -> AsyncGenerator[list[Change], None]:
        """Tell what there is, then how far that is."""
        chunk: list[Change] = []
        for kind in kinds:
            things: Iterable[tuple[str, BaseModel]]
            if kind is Kind.DEAD_LETTERS:
                things = await self._dead_letters_there(keeper)
            elif kind is Kind.EXECUTORS:
                things = await self._executors_there(keeper)
            else:
                things = self._there(kind, keeper)
            for name, view in things:
                chunk.append(Change(0, ADDED, kind, "", name, view))
                if len(chunk) == LISTED:
                    yield chunk
                    chunk = []
                    await trio.lowlevel.checkpoint()
        yield [*chunk, bookmark]

    def _there(self, kind: Kind, keeper: Keeper | None) -> Iterable[tuple[str, BaseModel]]:
        keepers = [keeper] if keeper is not None else list(self._keepers())
        declared = [keeper for keeper in keepers if keeper.is_declared]
        if kind is Kind.WORKERS:
            return ((k.record.name, views.worker(k)) for k in declared)
        return self._open_tasks(declared)

    async def _executors_there(self, keeper: Keeper | None) -> list[tuple[str, BaseModel]]:
        keepers = [keeper] if keeper is not None else list(self._keepers())
        there = [
            (k.record.name, live)
            for k in keepers
            if k.is_declared
            for live in [*k.executors.values()]
        ]
        usages = await usages_of(live.inner_pid for _, live in there)
        return [(name, views.executor(e, usages.get(e.inner_pid, GONE))) for name, e in there]

    def _open_tasks(self, keepers: Sequence[Keeper]) -> Iterable[tuple[str, BaseModel]]:
        found = [
            (task.number, keeper, task)
            for keeper in keepers
            for inbox in (keeper.dispatch.inbox, *keeper.dispatch.sides.values())
            for task in inbox.tasks()
            if task.number > 0
        ]
        found.sort(key=lambda entry: entry[0])
        holders = {
            task.number: executor
            for keeper in keepers
            for executor in keeper.executors.values()
            for task in executor.hand.values()
        }
        return (
            (keeper.record.name, views.task_in(keeper, task, holders.get(number)))
            for number, keeper, task in found[:TASKS_LISTED]
        )

    async def _dead_letters_there(self, keeper: Keeper | None) -> list[tuple[str, BaseModel]]:
        wanted = queries.DeadLetterFilter(keeper.record.no if keeper is not None else None)
        rows = await self._read(  # with those on their way, which nobody was there to note
            lambda db: queries.list_dead_letters(db, wanted, limit=DEAD_LETTERS_LISTED, before=None)
        )
        shown: list[tuple[str, BaseModel]] = []
        for row in rows:
            owner = self._keeper_of_number(row.worker_no)
            name = owner.record.name if owner is not None else ""
            shown.append((name, views.dead_letter_outline(name, row)))
        return shown


def _kinds(words: Sequence[str]) -> list[Kind]:
    by_word = {kind.plural: kind for kind in Kind}
    unknown = [word for word in words if word not in by_word]
    if unknown or not words:
        detail = f"name one or more of {', '.join(by_word)}"
        raise InvalidArgumentError(f"kinds: {detail}", faults=[Fault("kinds", detail)])
    return list(dict.fromkeys(by_word[word] for word in words))
