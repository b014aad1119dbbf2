"""The outbox: events on their way to a broker outside; deliveries to worker number 0.

To the rest of dispatch it is one more worker: its inbox is durable and recovered like any other,
producers wait while it is full, and nobody hands it to executors. A publisher takes tasks out and
says what became of them. With the embedded broker there is none, and nothing here runs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from workmanager.dispatch import finish
from workmanager.dispatch.inbox import Inbox
from workmanager.dispatch.routing import offer
from workmanager.dispatch.worker import WorkerDispatch
from workmanager.model.spec import WorkerSpec
from workmanager.store.commit import OUTBOX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from workmanager.dispatch.core import Core
    from workmanager.dispatch.task import Task

NAME = "outbox"
MAX_COUNT = 1_000_000  # then publishers are refused, and workers wait that have outputs
MAX_BYTES = 2**30

_SPEC = WorkerSpec.model_validate(
    {
        "dedupe": {"window": 0},
        "inbox": {"maxCount": MAX_COUNT, "maxBytes": MAX_BYTES, "onFull": "pause"},
    }
)


class Outbox:
    """What waits for the broker.

    Attributes:
        door: The worker that it is to dispatch.
        published: Events that the broker has taken, since the start.
        refusals: Times that an event was not taken.
        last_error: Why one was not taken last; empty once one is.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._news = trio.Event()
        self.door = WorkerDispatch(OUTBOX, "", NAME, _SPEC)
        self.door.inbox = _Queue(self._tell)
        self.published = 0
        self.refusals = 0
        self.last_error = ""
        core.workers[OUTBOX] = self.door
        core.exit = _Exit(self.door)

    @property
    def waiting(self) -> int:
        """Events that the broker has not taken yet."""
        return self.door.backlog

    def oldest_s(self) -> float:
        """How long the event that waits longest has done so."""
        ages = [task.accepted_at for task in self.door.inbox.out.values()]
        first = self.door.inbox.oldest()
        if first is not None:
            ages.append(first.accepted_at)
        return max(0.0, time.time() - min(ages)) if ages else 0.0

    async def take(self, limit: int) -> list[Task]:
        """Wait for events; returns up to *limit* of them, oldest first. Each is settled or put off.

        A store that refuses writes is waited for: what is published could not be settled.
        """
        while True:
            self.door.inbox.wake_due(time.time())
            if self.door.inbox.ready() and self._core.ledger.error is None:
                return self.door.inbox.take(limit)
            self._news = trio.Event()
            due = self.door.inbox.next_due()
            wait_s = 0.5 if self.door.inbox.ready() else 3600.0
            if due is not None:
                wait_s = min(wait_s, max(0.01, due - time.time()))
            with trio.move_on_after(wait_s):
                await self._news.wait()

    def settle(self, tasks: Iterable[Task]) -> None:
        """The broker has taken these; all that is settled at once is one commit."""
        door, ledger = self.door, self._core.ledger
        for task in tasks:
            door.inbox.settled(task)
            ledger.settle(task, None)
            self.published += 1
        self.last_error = ""
        if door.blocks and not door.is_full():
            finish.unblock(door)
        ledger.flush()

    def put_off(self, task: Task, *, delay_s: float) -> None:
        """Try *task* again later; others go first."""
        self.door.inbox.delay(task, time.time() + delay_s)
        self._tell()

    def refused(self, error: str) -> None:
        """Note that the broker did not take something."""
        self.refusals += 1
        self.last_error = error

    def _tell(self) -> None:
        self._news.set()


class _Queue(Inbox):
    """An inbox that tells of what comes in."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def add(self, tasks: Iterable[Task]) -> None:
        super().add(tasks)
        self._tell()


class _Exit:
    """Where all that is published goes: out."""

    def __init__(self, door: WorkerDispatch) -> None:
        self._door = (door,)

    def fixed(self, topic: str) -> Sequence[WorkerDispatch]:
        del topic
        return self._door

    def route(self, topic: str, attributes: Mapping[str, object]) -> Sequence[WorkerDispatch]:
        del topic, attributes
        return self._door


def bring_home(core: Core, tasks: Sequence[Task]) -> None:
    """Deliver what an outbox held to the workers of this host: its backend is no longer in use."""
    core.now = time.time()
    for task in tasks:
        offer(core, task.event)
        core.ledger.settle(task, None)
