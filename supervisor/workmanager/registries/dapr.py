"""Worker definitions in the sidecar's state store, so that all hosts of an app-id run the same.

The store of this host stays the working copy: it holds the tasks, and workers run from it while the
sidecar is away. A change goes into the shared state first, then here. Others read the index once a
second, and whenever somebody needs to know that nothing newer is there: an event that has arrived
must not be answered for by a host that does not know all workers it is for.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.errors import ConflictError, Reason, SidecarError, WorkManagerError
from workmanager.registries import layout
from workmanager.registries.layout import INDEX_KEY, Definition, Index, Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from workmanager.sidecar.state import Entry, StateStore

    LoadCode = Callable[[str], Awaitable[bytes | None]]

EPOCH_KEY = "registry_epoch"  # in the meta table of the store of each host
POLL_S = 1.0  # between two looks at the index when nobody asks
RETRY_S = 1.0  # after one that failed
FRESH_S = 5.0  # how long an event, or a change, waits to know what the others have declared
TRIES = 50  # to change the index; each is lost to another host's change

log = structlog.get_logger()


class DaprRegistry:
    """The definitions of an app-id's workers.

    Attributes:
        error: Why this host may not know all of them; empty while it does.
        epoch: That of the index this host knows; empty before the first.
        rev: That of the last change that this host made.
        converge: Makes this host what an index says; raises WorkManagerError if it could not.
    """

    def __init__(self, state: StateStore, *, epoch: str = "") -> None:
        self.error = "it has not been read yet"
        self.epoch = epoch
        self.rev = 0
        self.converge: Callable[[Index], Awaitable[None]]
        self._state = state
        self._fresh_as_of = -1.0  # trio's clock; the start of the last read that is in force
        self._wanted = trio.Event()
        self._round = trio.Event()
        self._changing = trio.Lock()
        self._seen: Entry | None = None
        self._index = Index()
        self._codes: set[str] = set()  # keys of code that is known to be there
        self._nursery: trio.Nursery

    # -- keeping up --------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow what other hosts declare, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            while True:
                began = trio.current_time()
                self._wanted = trio.Event()
                try:
                    index = await self.read()
                    await self.converge(index)
                except WorkManagerError as error:  # the store of this host may be what refuses
                    self._fail(str(error))
                    await trio.sleep(RETRY_S)
                    continue
                if self.error:
                    log.info("registry_known", workers=len(index.workers), rev=index.rev)
                self.error, self._fresh_as_of = "", began
                waiting, self._round = self._round, trio.Event()
                waiting.set()
                with trio.move_on_after(POLL_S):
                    await self._wanted.wait()

    async def fresh(self, arrived_at: float) -> None:
        """Return once all that was declared anywhere before *arrived_at* is in force here.

        One look at the index serves everybody who came before it began (trio's clock).

        Raises:
            SidecarError: The state store does not say, or this host cannot follow it.
        """
        with trio.move_on_after(FRESH_S):
            while self._fresh_as_of < arrived_at:
                self._wanted.set()
                await self._round.wait()
            return
        why = self.error or f"no answer within {FRESH_S:g} s"
        raise SidecarError(f"the registry of workers is not known: {why}", code="UNAVAILABLE")

    # -- changing ----------------------------------------------------------------------------

    async def put(self, definition: Definition, load: LoadCode) -> str:
        """Declare a worker, new or changed, for every host; returns its new stamp.

        Args:
            definition: With the stamp that it was changed from; empty for a new worker.
            load: Returns the code of a digest.

        Raises:
            ConflictError: The name is taken, or another host has changed or deleted the worker.
            SidecarError: The state store does not answer, or refuses.
        """
        worker = definition.worker
        stamp = secrets.token_hex(8)
        for version in definition.versions:
            await self._put_code(worker.uid, version.code_digest, load)
        key = layout.worker_key(worker.uid, stamp)
        place = Place(worker.name, stamp)
        await self._put_parts(key, layout.encode_definition(definition))
        try:
            before = await self._change(lambda index: _with(index, worker.uid, place, worker.stamp))
        except ConflictError:
            self._nursery.start_soon(self._drop, key)
            raise
        except SidecarError:
            # The answer may have been lost, and the change may yet come: the record has to stay.
            if not await self._is_declared(worker.uid, place):
                raise
            return stamp
        old = before.workers.get(worker.uid)
        if old is not None:
            self._nursery.start_soon(self._drop, layout.worker_key(worker.uid, old.stamp))
        return stamp

    async def remove(self, definition: Definition) -> None:
        """Delete a worker on every host.

        Raises:
            SidecarError: The state store does not answer, or refuses.
        """
        uid = definition.worker.uid
        before = await self._change(lambda index: _without(index, uid))
        place = before.workers.get(uid)
        keys = [layout.code_key(uid, version.code_digest) for version in definition.versions]
        if place is not None:
            keys.append(layout.worker_key(uid, place.stamp))
        for key in keys:
            self._nursery.start_soon(self._drop, key)

    # -- reading -----------------------------------------------------------------------------

    async def definition(self, uid: str, place: Place, *, number: int) -> Definition | None:
        """Return a worker's definition as a host has it that gives it *number*; None: it is gone.

        Raises:
            SidecarError: The state store does not answer, or another release wrote it.
        """
        content = await self._get_parts(layout.worker_key(uid, place.stamp))
        if content is None:
            return None
        return layout.decode_definition(content, number=number, stamp=place.stamp)

    async def code(self, uid: str, digest: str) -> bytes | None:
        """Return the code of one of a worker's versions; None if it is not there."""
        key = layout.code_key(uid, digest)
        content = await self._get_parts(key)
        if content is not None:
            self._codes.add(key)
        return content

    async def read(self) -> Index:
        """Return the index; one that has not changed is not decoded again."""
        entry = await self._state.get(INDEX_KEY)
        if self._seen is None or entry.etag != self._seen.etag or entry.value != self._seen.value:
            self._index, self._seen = layout.decode_index(entry.value), entry
        return self._index

    async def begin(self) -> Index:
        """Begin an index where there is none, and return it, or the one that another host began."""
        index = Index(secrets.token_hex(8), 1)
        await self._state.put(INDEX_KEY, layout.encode_index(index), etag="")
        return await self.read()

    # -- inside ------------------------------------------------------------------------------

    async def _change(self, change: Callable[[Index], Index]) -> Index:
        """Change the index by its etag; returns what it was before."""
        async with self._changing:
            for _ in range(TRIES):
                before = await self.read()
                etag = self._seen.etag if self._seen is not None else ""
                if not before.epoch and self.epoch:
                    raise SidecarError(
                        "the state store has lost the registry; it is being written again",
                        code="UNAVAILABLE",
                    )
                after = change(before)
                after = replace(
                    after, epoch=before.epoch or secrets.token_hex(8), rev=before.rev + 1
                )
                if await self._state.put(INDEX_KEY, layout.encode_index(after), etag=etag):
                    self.rev = after.rev
                    return before
        raise SidecarError("other hosts change the registry all the time", code="ABORTED")

    async def _is_declared(self, uid: str, place: Place) -> bool:
        try:
            return (await self.read()).workers.get(uid) == place
        except SidecarError:
            return False

    async def _put_code(self, uid: str, digest: str, load: LoadCode) -> None:
        key = layout.code_key(uid, digest)
        if key in self._codes:
            return
        code = await load(digest)
        if code is not None:
            await self._put_parts(key, code)
            self._codes.add(key)

    async def _put_parts(self, key: str, content: bytes) -> None:
        for name, value in layout.parts_of(key, content).items():
            await self._state.put(name, value, etag="")  # False: it is there, and the same

    async def _get_parts(self, key: str) -> bytes | None:
        first = (await self._state.get(key)).value
        if not first:
            return None
        count, content = layout.read_part(key, first)
        names = [layout.part_key(key, number) for number in range(1, count)]
        found = await self._state.get_many(names) if names else {}
        if len(found) < len(names):
            return None
        return content + b"".join(layout.read_part(n, found[n].value)[1] for n in names)

    async def _drop(self, key: str) -> None:
        """Delete what nobody names any more; if that fails it stays, and costs nothing but room."""
        self._codes.discard(key)
        try:
            first = (await self._state.get(key)).value
            count = layout.read_part(key, first)[0] if first else 0
            for number in range(count):
                await self._state.delete(layout.part_key(key, number) if number else key)
        except SidecarError as error:
            log.warning("registry_orphan", key=key, error=str(error))

    def _fail(self, why: str) -> None:
        if why != self.error:
            log.warning("registry_unknown", error=why)
        self.error = why


def _with(index: Index, uid: str, place: Place, stamp: str) -> Index:
    """Return the index with a worker that was changed from *stamp* (empty: it is new)."""
    if any(other.name == place.name and u != uid for u, other in index.workers.items()):
        raise ConflictError(
            f"there is a worker {place.name!r} already, on another host",
            reason=Reason.WORKER_EXISTS,
            metadata={"worker": place.name},
        )
    known = index.workers.get(uid)
    if (known.stamp if known is not None else "") != stamp:
        raise ConflictError(
            f"worker {place.name!r} was changed or deleted on another host meanwhile;"
            " read it again and repeat the change",
            reason=Reason.ETAG_MISMATCH,
            metadata={"worker": place.name},
        )
    return replace(index, workers={**index.workers, uid: place})


def _without(index: Index, uid: str) -> Index:
    return replace(index, workers={u: place for u, place in index.workers.items() if u != uid})
