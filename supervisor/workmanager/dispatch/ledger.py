"""The loop's side of the store: what waits for the next commit, and who waits for it.

Two commits are open at any time. *Intake* holds events that publishers handed in: if it cannot be
written, its publishers are told and nothing was accepted. *Outcomes* holds what executors did:
it can never be refused, so a failed one is kept and tried again until the store heals. While one
pair is being written, everything new gathers in the next pair: group commit without a timer.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.dispatch.task import DELIVERY_BITS, MAX_DELIVERIES, Segment, StoredEvent, Task
from workmanager.store import statements
from workmanager.store.commit import BadCommitError, Commit, NoRoomError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workmanager.dispatch.timers import Timers
    from workmanager.dispatch.watching import Observer
    from workmanager.store.rows import DeadLetterRow, RetryRow
    from workmanager.store.sql import Statement
    from workmanager.store.writer import Writer

RETRY_S = 0.5  # between two tries to write outcomes on a store that refuses

log = structlog.get_logger()


class Ticket:
    """One commit as its callers see it: wait until it is durable, or learn why it is not."""

    __slots__ = ("_done", "error")

    def __init__(self) -> None:
        self._done = trio.Event()
        self.error: Exception | None = None

    def finish(self, error: Exception | None) -> None:
        """Tell everyone who waits."""
        self.error = error
        self._done.set()

    async def wait(self) -> None:
        """Return once the commit is durable.

        Raises:
            StoreError: It could not be written; nothing of it was kept.
        """
        await self._done.wait()
        if self.error is not None:
            raise self.error

    async def settled(self) -> None:
        """Return once it is known whether the commit is durable."""
        await self._done.wait()


class Batch:
    """An open commit, its segment and its tasks, which are delivered once it is durable."""

    __slots__ = (
        "commit",
        "dead_letters",
        "dedupe",
        "retries",
        "retries_over",
        "segment",
        "tasks",
        "then",
        "ticket",
    )

    def __init__(self) -> None:
        self.commit = Commit()
        self.segment: Segment | None = None
        self.tasks: list[Task] = []
        self.dedupe: dict[int, list[bytes]] = {}
        self.retries: list[RetryRow] = []
        self.retries_over: list[int] = []
        self.dead_letters: list[DeadLetterRow] = []
        self.then: list[Callable[[], None]] = []
        self.ticket = Ticket()

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be written."""
        return self.commit.is_empty and not (self.then or self.retries or self.dead_letters)

    def seal(self) -> Commit:
        """Fold the rows that gathered into statements; returns the commit to be written."""
        commit = self.commit
        commit.dedupe = {no: b"".join(keys) for no, keys in self.dedupe.items()}
        if self.retries:
            commit.statements += statements.put_retries(self.retries)
        if self.retries_over:
            commit.statements += statements.delete_retries(self.retries_over)
        if self.dead_letters:
            commit.statements += statements.put_dead_letters(self.dead_letters)
        self.retries, self.retries_over, self.dead_letters = [], [], []
        return commit


class Ledger:
    """Gathers changes and commits them in groups; owned by the trio loop, not thread-safe."""

    def __init__(
        self,
        writer: Writer,
        timers: Timers,
        *,
        next_segment: int,
        deliver: Callable[[list[Task]], None],
    ) -> None:
        self._writer = writer
        self._timers = timers
        self._next_segment = next_segment
        self._deliver = deliver
        self._token = trio.lowlevel.current_trio_token()
        self._intake = Batch()
        self._orders = Batch()  # what operators change; no publisher shares its fate
        self._outcomes = Batch()
        self._dirty: dict[int, Segment] = {}
        self._writing: list[tuple[Batch, bool]] = []
        self._kept = False  # refused outcomes wait for their next try
        self._refuse_until = 0.0
        self._idle = trio.Event()
        self.error: Exception | None = None  # why the store refuses; None while it is healthy
        self.no_room: Exception | None = None  # why it refuses new work alone
        self.on_heal: Callable[[], None] = lambda: None
        self.on_refused: Callable[[Batch], None] = lambda _: None
        self.watch: Observer | None = None  # as in Core
        self.commits = 0

    # -- gathering ---------------------------------------------------------------------------

    def accept(
        self, event: StoredEvent, worker_nos: Sequence[int], *, external: bool
    ) -> list[Task]:
        """Add *event* for each of *worker_nos*; they get their tasks when the commit is durable.

        Args:
            external: True for a publisher's event (refusable), False for an outcome's output.
        """
        batch = self._batch_with_room(len(worker_nos), external=external)
        segment = batch.segment
        if segment is None:
            segment = batch.segment = Segment(self._next_segment, bytearray())
            batch.commit.segment_id = self._next_segment
            batch.commit.accepted_at = time.time()
            self._next_segment += 1
        batch.commit.events.append((event.topic, tuple(worker_nos), event.wire))
        number = segment.id << DELIVERY_BITS | len(segment.done)
        at = batch.commit.accepted_at
        made = [Task(event, segment, number + i, no, at) for i, no in enumerate(worker_nos)]
        segment.done.extend(bytes(len(made)))
        segment.open += len(made)
        batch.tasks.extend(made)
        return made

    def accept_ended(self, event: StoredEvent, worker_no: int) -> Task:
        """Add *event* for one worker as a task that its caller ends now: it is not delivered."""
        task = self.accept(event, (worker_no,), external=False)[0]
        self._outcomes.tasks.remove(task)
        return task

    def add_dedupe(self, worker_no: int, key: bytes, *, external: bool) -> None:
        """Write *key* (16 bytes) as seen by *worker_no* along with the event just accepted."""
        batch = self._intake if external else self._outcomes
        batch.dedupe.setdefault(worker_no, []).append(key)

    def settle(self, task: Task, history: tuple[object, ...] | None) -> None:
        """Mark *task* settled, with its row of history."""
        segment = task.segment
        segment.done[task.number & (MAX_DELIVERIES - 1)] = 1
        segment.open -= 1
        self._dirty[segment.id] = segment
        if history is not None:
            self._outcomes.commit.history.append(history)

    def put_retry(self, row: RetryRow) -> None:
        """Remember what an open task has been through."""
        self._outcomes.retries.append(row)

    def drop_retry(self, task_number: int) -> None:
        """Forget it: the task has ended."""
        self._outcomes.retries_over.append(task_number)

    def put_dead_letter(self, row: DeadLetterRow) -> None:
        """Keep a task that was given up, with its event."""
        self._outcomes.dead_letters.append(row)
        if self.watch is not None:
            self.watch.dead_letter_kept(row)

    def write(self, rows: Sequence[Statement]) -> None:
        """Add rows of the cold path to the open outcomes; never refused, retried until written."""
        self._outcomes.commit.statements.extend(rows)

    def after_commit(self, then: Callable[[], None]) -> None:
        """Run *then* once the open outcomes are durable."""
        self._outcomes.then.append(then)

    # -- committing --------------------------------------------------------------------------

    def check(self) -> None:
        """Refuse intake at once while the store is known to refuse it.

        Raises:
            StoreError: A write failed within the last half second; try again then.
        """
        error = self.error or self.no_room
        if error is not None and trio.current_time() < self._refuse_until:
            raise error

    def flush(self) -> None:
        """Hand what has gathered to the writer, unless it still writes: then it follows at once."""
        if self._writing or self._kept:
            return
        self._seal_progress()
        if not self._intake.is_empty:
            batch, self._intake = self._intake, Batch()
            self._submit(batch, external=True)
        if not self._orders.is_empty:
            batch, self._orders = self._orders, Batch()
            self._submit(batch, external=True)
        if not self._outcomes.is_empty:
            batch, self._outcomes = self._outcomes, Batch()
            self._submit(batch, external=False)

    def intake_tickets(self) -> list[Ticket]:
        """Return what a publisher must wait for: its own commit, and those being written.

        The latter matter for a duplicate: its first copy may not be durable yet.
        """
        tickets = [batch.ticket for batch, external in self._writing if external and batch.tasks]
        if not self._intake.is_empty:
            tickets.append(self._intake.ticket)
        return tickets

    def outcome_ticket(self) -> Ticket:
        """Return what to wait for so that the outcomes gathered so far are durable."""
        return self._outcomes.ticket

    async def commit(self, rows: Sequence[Statement]) -> None:
        """Write *rows* and return once they, and what was accepted before, are durable.

        They may use the room that is kept for accepted work: operators need it to make room.

        Raises:
            StoreError: The store refuses writes; the rows were not kept.
        """
        batch = self._orders
        batch.commit.statements.extend(rows)
        if batch.is_empty:
            return  # an empty batch is never written: waiting for it would be for ever
        self.flush()
        await batch.ticket.wait()

    async def written(self) -> None:
        """Wait until what has gathered so far is durable, so that a read of the store sees it.

        A store that refuses writes is not waited for: then the read shows what there is.
        """
        if self.error is not None:
            return
        batches = [batch for batch, _ in self._writing]
        if not self._outcomes.is_empty or self._dirty:
            batches.append(self._outcomes)
        self.flush()
        with trio.move_on_after(RETRY_S):
            for batch in batches:
                await batch.ticket.settled()

    async def drained(self) -> None:
        """Wait until nothing is left to write."""
        self.flush()
        while self._writing or self._kept:
            self._idle = trio.Event()
            await self._idle.wait()

    # -- inside ------------------------------------------------------------------------------

    def _batch_with_room(self, deliveries: int, *, external: bool) -> Batch:
        batch = self._intake if external else self._outcomes
        if batch.segment is None or len(batch.segment.done) + deliveries <= MAX_DELIVERIES:
            return batch
        # A full segment is rare (one commit of 65,536 deliveries): the rest goes into the next.
        if external:
            self._intake = Batch()
            self._submit(batch, external=True)
            return self._intake
        self._outcomes = Batch()
        self._submit(batch, external=False)
        return self._outcomes

    def _seal_progress(self) -> None:
        commit = self._outcomes.commit
        for segment in self._dirty.values():
            if segment.open:
                commit.progress[segment.id] = bytes(segment.done)
            else:
                commit.finished.append(segment.id)
        self._dirty.clear()

    def _submit(self, batch: Batch, *, external: bool) -> None:
        self._writing.append((batch, external))
        self._writer.submit(batch.seal(), self._reporter(batch, external=external))

    def _reporter(self, batch: Batch, *, external: bool) -> Callable[[Exception | None], None]:
        def report(error: Exception | None) -> None:
            # Runs in the writer's thread. A loop that has ended has nobody left to tell.
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._finished, batch, external, error)

        return report

    def _finished(self, batch: Batch, external: bool, error: Exception | None) -> None:
        self._writing.remove((batch, external))
        if error is None:
            self._committed(batch)
        elif isinstance(error, BadCommitError):
            # Never to be written: what it settled is still open in the store and runs again after
            # a restart, which is at-least-once.
            log.error("commit_refused", error=str(error), external=external)
            self._refuse(batch, error)
        elif isinstance(error, NoRoomError):
            self._note_no_room(error)
            self._refuse(batch, error)
        elif external:
            self._note(error)
            self._refuse(batch, error)
            self.write(
                statements.put_meta("heal", "")
            )  # tried until it is written: all is well then
        else:
            self._note(error)
            self._keep(batch, error)
        if not self._writing:
            self.flush()
        if not self._writing and not self._kept:
            self._idle.set()

    def _committed(self, batch: Batch) -> None:
        self.commits += 1
        healed, self.error = self.error is not None, None
        if batch.commit.is_intake:
            self.no_room = None
        batch.ticket.finish(None)
        try:
            for then in batch.then:
                then()
            if self.watch is not None:
                self.watch.settled(batch.commit.history)
                self.watch.accepted(batch.tasks)
            if batch.tasks:
                self._deliver(batch.tasks)
            if healed:
                log.info("store_healed")
                self.on_heal()
        except Exception:  # called by the loop itself: nobody above could catch it
            log.exception("delivery_failed", tasks=len(batch.tasks))

    def _keep(self, batch: Batch, error: Exception) -> None:
        """Hold refused outcomes for another try; publishers who wait meanwhile are told now.

        Progress is written as it stands at that try: the segments of this batch are dirty again.
        """
        self._kept = True
        self._timers.after(RETRY_S, lambda: self._retry(batch))
        for refused in (self._intake, self._orders):
            self._refuse(refused, error)
        self._intake, self._orders = Batch(), Batch()

    def _retry(self, batch: Batch) -> None:
        self._kept = False
        self._submit(batch, external=False)

    def _note(self, error: Exception) -> None:
        if self.error is None:
            log.error("store_refuses_writes", error=str(error))
        self.error = error
        self._refuse_until = trio.current_time() + RETRY_S

    def _note_no_room(self, error: Exception) -> None:
        if self.no_room is None:
            log.error("store_refuses_new_work", error=str(error))
        self.no_room = error
        self._refuse_until = trio.current_time() + RETRY_S

    def _refuse(self, batch: Batch, error: Exception) -> None:
        self.on_refused(batch)
        batch.ticket.finish(error)
