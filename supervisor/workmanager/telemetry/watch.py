"""Changes and those who watch them: numbered once, shared by all, bounded for each.

A change is encoded once, whoever reads it, and what is handed to watchers who asked for the same is
one batch for all of them. The last changes of each kind are kept for as long as the kind is
recorded, so that a stream that was cut goes on after its token; a token that reaches further back
is refused, and its owner lists again. A watcher that does not keep up is cut off: nobody waits for
a reader, and no reader's backlog grows without bound.
"""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, field
from heapq import merge
from typing import TYPE_CHECKING

import trio

from workmanager.errors import Reason, ResumeTokenError, SlowReaderError, WorkManagerError
from workmanager.telemetry.changes import BOOKMARK, Batch, Change, Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pydantic import BaseModel

KEPT_CHANGES = 4096  # per kind
KEPT_BYTES = 8 * 2**20  # per kind, of JSON
BACKLOG_CHANGES = 8192  # of one watcher
BACKLOG_BYTES = 16 * 2**20
MAX_WATCHERS = 2000
PACE_PER_WATCHER_S = 0.004  # between two rounds: 250 messages a second, however many watch
PACE_MIN_S = 0.02
PACE_MAX_S = 1.0


_Wish = tuple[frozenset[Kind], str]


@dataclass(slots=True)
class _Record:
    """The last changes of one kind, without a gap."""

    since: int  # every change after this number is here
    changes: deque[Change] = field(default_factory=deque)
    size_bytes: int = 0

    def add(self, change: Change) -> None:
        self.changes.append(change)
        self.size_bytes += len(change.json)
        while len(self.changes) > KEPT_CHANGES or self.size_bytes > KEPT_BYTES:
            gone = self.changes.popleft()
            self.size_bytes -= len(gone.json)
            self.since = gone.seq

    def after(self, seq: int) -> Iterable[Change]:
        return (change for change in self.changes if change.seq > seq)


class Feed:
    """Takes changes and hands them to watchers; owned by the trio loop."""

    def __init__(self) -> None:
        self._start = secrets.token_hex(4)
        self._seq = 0
        self._records: dict[Kind, _Record] = {}
        self._watchers: dict[_Wish, set[Watcher]] = {}
        self._count = 0
        self.dropped = 0  # watchers that were cut off

    @property
    def token(self) -> str:
        """What resumes after everything told so far."""
        return f"{self._start}-{self._seq}"

    @property
    def pace_s(self) -> float:
        """Seconds to leave between two rounds of changes, so that many watchers cost no more."""
        return min(PACE_MAX_S, max(PACE_MIN_S, PACE_PER_WATCHER_S * self._count))

    def record(self, kind: Kind) -> None:
        """Keep the changes of *kind* from now on."""
        self._records.setdefault(kind, _Record(self._seq))

    def forget(self, kind: Kind) -> None:
        """Keep no changes of *kind* any more."""
        self._records.pop(kind, None)

    def watches(self, kind: Kind) -> bool:
        """Tell whether somebody watches *kind*."""
        return any(kind in kinds for kinds, _ in self._watchers)

    def change(self, type_: str, kind: Kind, worker: str, resource: BaseModel) -> Change:
        """Make the next change; it is told by `publish`."""
        self._seq += 1
        return Change(self._seq, type_, kind, self.token, worker, resource)

    def publish(self, kind: Kind, changes: Sequence[Change]) -> None:
        """Keep changes of one *kind*, and hand them to those who watch it."""
        if kind in self._records:
            for change in changes:
                self._records[kind].add(change)
        for (kinds, worker), watchers in list(self._watchers.items()):
            if kind in kinds:
                wanted = (c for c in changes if c.worker == worker) if worker else changes
                for batch in Batch.split(wanted):
                    for watcher in tuple(watchers):
                        watcher.offer(batch)

    def bookmark(self) -> Change:
        """Make a change that says nothing but how far the watcher is."""
        return Change(self._seq, BOOKMARK, None, self.token)

    def watch(self, kinds: Collection[Kind], *, worker: str = "", after: str = "") -> Watcher:
        """Register a watcher of recorded *kinds*; `close` it.

        Args:
            worker: Only changes about this worker.
            after: A token: what has happened since comes first.

        Raises:
            ResumeTokenError: What has happened since is not known any more.
            WorkManagerError: Too many watch already (QUOTA_EXCEEDED).
        """
        if self._count >= MAX_WATCHERS:
            raise WorkManagerError(f"{MAX_WATCHERS} watch already", reason=Reason.QUOTA_EXCEEDED)
        watcher = Watcher(self, (frozenset(kinds), worker))
        if after:
            seq = self._read(after, kinds)
            records = (self._records[kind].after(seq) for kind in kinds)
            missed = merge(*records, key=lambda change: change.seq)
            for batch in Batch.split(c for c in missed if not worker or c.worker == worker):
                watcher.offer(batch)
        self._watchers.setdefault(watcher.wish, set()).add(watcher)
        self._count += 1
        return watcher

    def drop(self, kind: Kind, why: str) -> None:
        """Cut off everybody who watches *kind*: its changes cannot be told completely."""
        for (kinds, _), watchers in list(self._watchers.items()):
            if kind in kinds:
                for watcher in tuple(watchers):
                    watcher.drop(why)
        if kind in self._records:
            self._records[kind] = _Record(self._seq)

    def discard(self, watcher: Watcher) -> None:
        """Forget a watcher; forgotten twice it is once."""
        mates = self._watchers.get(watcher.wish, set())
        if watcher in mates:
            mates.remove(watcher)
            self._count -= 1
            if not mates:
                del self._watchers[watcher.wish]

    def _read(self, token: str, kinds: Iterable[Kind]) -> int:
        start, _, number = token.partition("-")
        seq = int(number) if number.isdecimal() and len(number) < 19 else -1
        known = start == self._start and 0 <= seq <= self._seq
        if not known or any(seq < self._records[kind].since for kind in kinds):
            raise ResumeTokenError(
                "what has happened since this token is not known any more; watch without one"
            )
        return seq


class Watcher:
    """One who watches: what waits for it, up to a bound.

    Attributes:
        wish: What it asked for: kinds, and a worker's name or "" for all.
        dropped: Set once it was cut off.
    """

    def __init__(self, feed: Feed, wish: _Wish) -> None:
        self.wish = wish
        self.dropped = trio.Event()
        self._feed = feed
        self._waiting: deque[Batch] = deque()
        self._count = 0
        self._size_bytes = 0
        self._arrived = trio.Event()
        self._why = ""

    def offer(self, batch: Batch) -> None:
        """Take *batch*; a backlog beyond its bound cuts the watcher off."""
        self._waiting.append(batch)
        self._count += len(batch)
        self._size_bytes += batch.size_bytes
        if self._count > BACKLOG_CHANGES or self._size_bytes > BACKLOG_BYTES:
            self.drop(f"{self._count} changes waited to be read")
        self._arrived.set()

    def drop(self, why: str) -> None:
        """Cut it off; what waits for it is let go."""
        if self.dropped.is_set():
            return
        self._why = why
        self._waiting.clear()
        self._feed.dropped += 1
        self._feed.discard(self)
        self.dropped.set()
        self._arrived.set()

    def check(self) -> None:
        """Raise SlowReaderError if it was cut off."""
        if self.dropped.is_set():
            raise SlowReaderError(f"cut off: {self._why}; list again, or watch one worker only")

    async def take(self) -> Sequence[Change]:
        """Wait for changes and take the oldest batch of them.

        Raises:
            SlowReaderError: It was cut off.
        """
        while not self._waiting:
            self.check()
            self._arrived = trio.Event()
            await self._arrived.wait()
        self.check()
        batch = self._waiting.popleft()
        self._count -= len(batch)
        self._size_bytes -= batch.size_bytes
        return batch

    def bookmark(self) -> Change:
        """Make a change that says nothing but how far the watcher is, who has taken everything."""
        return self._feed.bookmark()

    def close(self) -> None:
        """Watch no more."""
        self._feed.discard(self)
        self._waiting.clear()
