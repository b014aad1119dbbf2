"""A worker's open tasks in memory, in the order in which they may be handed out.

The durable truth is the store; this is its index. Without ordering it is a queue and a heap of
delayed tasks. With ordering by key, a key has one task at a time outside of its own queue: its head
blocks it through its retries, and settling the head (a dead letter included) frees the next.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from workmanager.dispatch.task import Task


class Inbox:
    """Open tasks of one worker: ready, delayed, waiting behind their key, or handed out.

    Args:
        key_of: Gives a task's ordering key, None for a task without one; None for no ordering.
    """

    def __init__(self, key_of: Callable[[Task], str | None] | None = None) -> None:
        self._ready: deque[Task] = deque()
        self._delayed: list[tuple[float, int, Task]] = []
        self._key_of = key_of
        self._behind: dict[str, deque[Task]] = {}
        self.out: dict[int, Task] = {}  # handed out, by task number
        self.count = 0  # open tasks, wherever they are
        self.size_bytes = 0

    def add(self, tasks: Iterable[Task]) -> None:
        """Add newly accepted tasks at the end."""
        ready, key_of = self._ready, self._key_of
        for task in tasks:
            self.count += 1
            self.size_bytes += len(task.event.wire)
            if key_of is not None:
                task.key = key_of(task)
                if task.key is not None and not self._enter(task):
                    continue
            ready.append(task)

    def restore(self, task: Task) -> None:
        """Add a recovered task: delayed if its time has not come."""
        if not task.due_at:
            self.add((task,))
            return
        self.count += 1
        self.size_bytes += len(task.event.wire)
        if self._key_of is not None:
            task.key = self._key_of(task)
            if task.key is not None and not self._enter(task):
                return
        self._push_delayed(task)

    def take(self, limit: int) -> list[Task]:
        """Hand out up to *limit* ready tasks, oldest first."""
        ready, out = self._ready, self.out
        if limit >= len(ready):
            taken = list(ready)
            ready.clear()
        else:
            popleft = ready.popleft
            taken = [popleft() for _ in range(limit)]
        for task in taken:
            out[task.number] = task
        return taken

    def give_back(self, tasks: Iterable[Task]) -> None:
        """Return handed-out tasks that were not settled to the front, in their order."""
        back = list(tasks)
        for task in back:
            self.out.pop(task.number, None)
        self._ready.extendleft(reversed(back))

    def delay(self, task: Task, due_at: float) -> None:
        """Put a handed-out task aside until *due_at* (unix seconds); its key stays blocked."""
        self.out.pop(task.number, None)
        task.due_at = due_at
        self._push_delayed(task)

    def wake_due(self, now: float) -> bool:
        """Move delayed tasks whose time has come to the ready ones; tell whether any was."""
        moved = False
        while self._delayed and self._delayed[0][0] <= now:
            task = heapq.heappop(self._delayed)[2]
            task.due_at = 0.0
            self._ready.append(task)
            moved = True
        return moved

    def settled(self, task: Task) -> None:
        """Forget a task that has ended; the next one of its key becomes ready."""
        self.out.pop(task.number, None)
        self.count -= 1
        self.size_bytes -= len(task.event.wire)
        if task.key is not None:
            self._leave(task.key)

    def claim(self, task: Task) -> bool:
        """Hand out *task* wherever it waits (to cancel or drop it); False if it is out already."""
        if task.number in self.out:
            return False
        if task in self._ready:
            self._ready.remove(task)
        elif task.key is not None and task in self._behind.get(task.key, ()):
            self._behind[task.key].remove(task)
            task.key = None  # it never was the head of its key and frees nobody
        else:
            self._delayed = [entry for entry in self._delayed if entry[2] is not task]
            heapq.heapify(self._delayed)
        self.out[task.number] = task
        return True

    def oldest(self) -> Task | None:
        """Return the ready task that waits longest."""
        return self._ready[0] if self._ready else None

    def newest(self) -> Task | None:
        """Return the ready task that came last."""
        return self._ready[-1] if self._ready else None

    def ready(self) -> int:
        """How many tasks could be handed out now."""
        return len(self._ready)

    def delayed(self) -> int:
        """How many tasks wait for a later time."""
        return len(self._delayed)

    def next_due(self) -> float | None:
        """When the earliest delayed task is due, unix seconds."""
        return self._delayed[0][0] if self._delayed else None

    def tasks(self) -> Iterator[Task]:
        """Every open task, handed-out ones first."""
        yield from list(self.out.values())
        yield from list(self._ready)
        yield from [entry[2] for entry in self._delayed]
        for waiting in list(self._behind.values()):
            yield from list(waiting)

    def find(self, number: int) -> Task | None:
        """Return the open task of that number."""
        if number in self.out:
            return self.out[number]
        return next((task for task in self.tasks() if task.number == number), None)

    def rekey(self, key_of: Callable[[Task], str | None] | None) -> None:
        """Change the ordering: tasks that wait are queued anew in the order of their arrival."""
        waiting = sorted(
            (t for t in islice(self.tasks(), len(self.out), None)), key=lambda t: t.number
        )
        self._ready.clear()
        self._behind.clear()
        self._delayed.clear()
        self._key_of = key_of
        for task in self.out.values():
            task.key = key_of(task) if key_of is not None else None
            if task.key is not None:
                self._behind.setdefault(task.key, deque())
        self.count = len(self.out)
        self.size_bytes = sum(len(t.event.wire) for t in self.out.values())
        for task in waiting:
            self.restore(task)

    def _enter(self, task: Task) -> bool:
        """Claim the task's key; False if the task now waits behind another one."""
        key = task.key
        assert key is not None  # noqa: S101 - the callers have checked
        behind = self._behind.get(key)
        if behind is None:
            self._behind[key] = deque()
            return True
        behind.append(task)
        return False

    def _leave(self, key: str) -> None:
        behind = self._behind.get(key)
        if behind is None:
            return
        if not behind:
            del self._behind[key]
            return
        task = behind.popleft()
        if task.due_at:
            self._push_delayed(task)
        else:
            self._ready.append(task)

    def _push_delayed(self, task: Task) -> None:
        heapq.heappush(self._delayed, (task.due_at, task.number, task))
