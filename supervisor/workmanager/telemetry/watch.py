"""Changes and those who watch them: numbered once, shared by all, bounded for each.

A change is encoded once, whoever reads it. The last ones of each kind are kept for as long as the
kind is recorded, so that a stream that was cut goes on after its token; a token that reaches
further back is refused, and its owner lists again. A watcher that does not keep up is cut off:
nobody waits for a reader, and no reader's backlog grows without bound.

    token = <start of this service> "-" <number of the change>
"""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from heapq import merge
from typing import TYPE_CHECKING

import trio

from workmanager.errors import Reason, ResumeTokenError, SlowReaderError, WorkManagerError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pydantic import BaseModel

KEPT_CHANGES = 4096  # per kind
KEPT_BYTES = 8 * 2**20  # per kind, of JSON
BACKLOG_CHANGES = 8192  # of one watcher
BACKLOG_BYTES = 16 * 2**20
BATCH_BYTES = 256 * 1024  # handed to a watcher at once; far below gRPC's 4 MiB for a message
MAX_WATCHERS = 2000
PACE_PER_WATCHER_S = 0.002  # between two rounds: 500 messages a second, however many watch
PACE_MIN_S = 0.02
PACE_MAX_S = 1.0


class Kind(Enum):
    """What can be watched: the word of a call, and the word (and field) of a change."""

    WORKERS = ("workers", "worker")
    EXECUTORS = ("executors", "executor")
    TASKS = ("tasks", "task")
    DEAD_LETTERS = ("deadLetters", "deadLetter")

    @property
    def plural(self) -> str:
        """How a call asks for it."""
        return self.value[0]

    @property
    def field(self) -> str:
        """How a change names it."""
        return self.value[1]


ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"


@dataclass(slots=True, eq=False)
class Change:
    """One change, as it goes out.

    Attributes:
        seq: Its number; 0 for what a list begins with.
        token: Goes on after it; empty where a list is not told to its end yet.
        worker: The worker it is about, by which watchers filter.
        json: The change in the form of REST.
        encoded: The same in another form, made by whoever needs it first.
    """

    seq: int
    type: str
    kind: Kind | None
    token: str
    worker: str = ""
    resource: BaseModel | None = None
    json: bytes = b""
    encoded: bytes | None = None

    def __post_init__(self) -> None:
        """Encode it; everything of it but the resource is plain ASCII."""
        kind = self.kind.field if self.kind is not None else ""
        head = f'{{"type":"{self.type}","kind":"{kind}","resumeToken":"{self.token}"'
        if self.resource is None:
            self.json = f"{head}}}".encode()
            return
        body = self.resource.model_dump_json(by_alias=True)
        self.json = f'{head},"{kind}":{body}}}'.encode()


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
        self._watchers: set[Watcher] = set()
        self.dropped = 0  # watchers that were cut off

    @property
    def token(self) -> str:
        """What resumes after everything told so far."""
        return f"{self._start}-{self._seq}"

    @property
    def pace_s(self) -> float:
        """Seconds to leave between two rounds of changes, so that many watchers cost no more."""
        return min(PACE_MAX_S, max(PACE_MIN_S, PACE_PER_WATCHER_S * len(self._watchers)))

    def record(self, kind: Kind) -> None:
        """Keep the changes of *kind* from now on."""
        self._records.setdefault(kind, _Record(self._seq))

    def forget(self, kind: Kind) -> None:
        """Keep no changes of *kind* any more."""
        self._records.pop(kind, None)

    def watches(self, kind: Kind) -> bool:
        """Tell whether somebody watches *kind*."""
        return any(kind in watcher.kinds for watcher in self._watchers)

    def publish(self, type_: str, kind: Kind, worker: str, resource: BaseModel) -> None:
        """Number a change, keep it, and hand it to those who watch."""
        self._seq += 1
        change = Change(self._seq, type_, kind, self.token, worker, resource)
        if kind in self._records:
            self._records[kind].add(change)
        for watcher in tuple(self._watchers):
            watcher.offer(change)

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
        if len(self._watchers) >= MAX_WATCHERS:
            raise WorkManagerError(f"{MAX_WATCHERS} watch already", reason=Reason.QUOTA_EXCEEDED)
        watcher = Watcher(self, frozenset(kinds), worker)
        if after:
            seq = self._read(after, kinds)
            records = (self._records[kind].after(seq) for kind in kinds)
            for change in merge(*records, key=lambda change: change.seq):
                watcher.offer(change)
        self._watchers.add(watcher)
        return watcher

    def drop(self, kind: Kind, why: str) -> None:
        """Cut off everybody who watches *kind*: its changes cannot be told completely."""
        for watcher in tuple(self._watchers):
            if kind in watcher.kinds:
                watcher.drop(why)
        if kind in self._records:
            self._records[kind] = _Record(self._seq)

    def discard(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        self._watchers.discard(watcher)

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
        dropped: Set once it was cut off.
    """

    def __init__(self, feed: Feed, kinds: frozenset[Kind], worker: str) -> None:
        self.kinds = kinds
        self.dropped = trio.Event()
        self._feed = feed
        self._worker = worker
        self._waiting: deque[Change] = deque()
        self._size_bytes = 0
        self._arrived = trio.Event()
        self._why = ""

    def offer(self, change: Change) -> None:
        """Take *change* if it is wanted; a backlog beyond its bound cuts the watcher off."""
        if change.kind not in self.kinds or (self._worker and change.worker != self._worker):
            return
        self._waiting.append(change)
        self._size_bytes += len(change.json)
        if len(self._waiting) > BACKLOG_CHANGES or self._size_bytes > BACKLOG_BYTES:
            self.drop(f"{len(self._waiting)} changes waited to be read")
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
        """Wait for changes and take those that came, as many as go into one message.

        Raises:
            SlowReaderError: It was cut off.
        """
        while not self._waiting:
            self.check()
            self._arrived = trio.Event()
            await self._arrived.wait()
        self.check()
        batch: list[Change] = []
        size_bytes = 0
        while self._waiting and size_bytes < BATCH_BYTES:
            change = self._waiting.popleft()
            size_bytes += len(change.json)
            batch.append(change)
        self._size_bytes -= size_bytes
        return batch

    def bookmark(self) -> Change:
        """Make a change that says nothing but how far the watcher is, who has taken everything."""
        return self._feed.bookmark()

    def close(self) -> None:
        """Watch no more."""
        self._feed.discard(self)
        self._waiting.clear()
