"""Hosts of one app-id converge: what the shared registry says becomes what this host runs.

Workers are taken on and given up, changed and swapped by the same steps as calls do it, under the
same locks. A worker is subscribed as soon as it is known: whether it can run here is its keeper's
business, and its events wait in its inbox meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio
from pydantic import ValidationError

from workmanager.errors import ConflictError, SidecarError, WorkManagerError
from workmanager.lifecycle.record import WorkerRecord
from workmanager.lifecycle.swapping import swap
from workmanager.model.states import VersionState
from workmanager.registries.dapr import EPOCH_KEY
from workmanager.service import declare
from workmanager.service.versions import VersionCalls
from workmanager.store import queries, statements

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from workmanager.lifecycle.keeper import Keeper
    from workmanager.registries.dapr import DaprRegistry
    from workmanager.registries.layout import Index, Place
    from workmanager.service.operations import Operations
    from workmanager.store.sql import Statement
    from workmanager.supervisor import Supervisor

SWAP_RETRY_S = 30.0  # before a version that does not start here is tried again

log = structlog.get_logger()


class SharingCalls(VersionCalls):
    """What follows the registry; nothing of it is called from outside."""

    def __init__(self, supervisor: Supervisor, operations: Operations) -> None:
        super().__init__(supervisor, operations)
        self._busy: dict[str, trio.Event] = {}  # workers that are swapped or given up, by uid
        self._not_before: dict[str, float] = {}  # when a version that did not start is tried again
        self._following: trio.Nursery
        self._registry: DaprRegistry

    async def follow_registry(self) -> None:
        """Make this host what the registry says, until cancelled; nothing without one."""
        if self._sup.registry is None:
            return
        self._registry = self._sup.registry
        self._registry.converge = self._converge
        async with trio.open_nursery() as self._following:
            await self._registry.run()

    async def _converge(self, index: Index) -> None:
        registry = self._registry
        if index.epoch != registry.epoch or not index.epoch:
            await self._join(index)
        if index.rev < registry.rev or index.epoch != registry.epoch:
            index = await registry.read()  # it is older than what this host has written since
        # From here to the end of both lists nothing may come between: they belong to this index.
        known = {k.record.uid: k for k in self._keepers() if k.is_declared}
        missing = [k for uid, k in known.items() if uid not in index.workers and k.record.stamp]
        changed = [
            (uid, place, known[uid].record.stamp if uid in known else "")
            for uid, place in index.workers.items()
            if uid not in known or known[uid].record.stamp != place.stamp
        ]
        for keeper in missing:
            self._sup.core.broker.unsubscribe(keeper.dispatch)
            self._apart(keeper.record.uid, partial(self._leave, keeper, keeper.record.stamp))
        for uid, place, stamp in changed:
            await self._follow(uid, place, stamp)

    async def _join(self, index: Index) -> None:
        """Bring the workers of this host into an index that it has not seen before."""
        registry = self._registry
        if not index.epoch:
            index = await registry.begin()
        for keeper in [k for k in self._keepers() if k.is_declared]:
            record = keeper.record
            if record.uid in index.workers:
                continue
            async with self._lock_of(record.name):
                record.stamp = ""
                try:
                    await self._commit(record, partial(_worker_rows, record))
                except ConflictError as error:
                    raise SidecarError(
                        f"worker {record.name!r} of this host is not of the registry: {error};"
                        " delete it here, or there",
                        code="FAILED_PRECONDITION",
                    ) from error
        await self._sup.core.ledger.commit(statements.put_meta(EPOCH_KEY, index.epoch))
        registry.epoch = index.epoch
        log.info("registry_joined", epoch=index.epoch, workers=len(index.workers))

    # -- one worker --------------------------------------------------------------------------

    async def _follow(self, uid: str, place: Place, stamp: str) -> None:
        """Make one worker what the registry says; *stamp* is what it was when that was read."""
        if uid in self._busy or self._not_before.get(uid, 0.0) > trio.current_time():
            return
        is_moved = False
        async with self._lock_of(place.name):
            keeper = self._sup.keepers.get(uid)
            if (keeper.record.stamp if keeper is not None else "") != stamp:
                return  # a call was faster; the next look compares again
            number = keeper.record.no if keeper is not None else self._sup.next_worker_number()
            found = await self._registry.definition(uid, place, number=number)
            if found is None:
                if (await self._registry.read()).workers.get(uid) == place:
                    log.error("registry_record_missing", worker=place.name, stamp=place.stamp)
                return
            try:
                fresh = WorkerRecord.from_row(found.worker)
            except ValidationError as error:
                raise SidecarError(
                    f"worker {place.name!r} cannot be read by this release: {error.error_count()}"
                    " faults",
                    code="DATA_LOSS",
                ) from error
            fresh.versions = {version.id: version for version in found.versions}
            rows = await self._code_rows(fresh)
            if keeper is None:
                await self._adopt(fresh, rows)
            elif fresh.current == keeper.record.current:
                await self._reconfigure(keeper, fresh, rows)
            else:
                await self._prepare(keeper, fresh, rows)
                self._apart(uid, partial(self._swap_in, keeper, fresh))
                is_moved = fresh.spec.triggers != keeper.record.spec.triggers
        if is_moved:  # events on its new topics must not pass it by meanwhile
            await self._busy[uid].wait()

    async def _adopt(self, fresh: WorkerRecord, rows: list[Statement]) -> None:
        if self._find(fresh.name) is not None:
            raise SidecarError(
                f"there is a worker {fresh.name!r} on this host that is not of the registry",
                code="FAILED_PRECONDITION",
            )
        keeper = await self._sup.add(fresh)
        try:
            rows += declare.rows_of(fresh, list(fresh.versions.values()), None)
            await self._sup.core.ledger.commit(rows)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._sup.remove(keeper, drain=False)
            raise
        self._sup.declare(keeper)
        log.info("worker_adopted", worker=fresh.name, uid=fresh.uid)

    async def _reconfigure(
        self, keeper: Keeper, fresh: WorkerRecord, rows: list[Statement]
    ) -> None:
        rows += declare.rows_of(fresh, list(fresh.versions.values()), None)
        await self._sup.core.ledger.commit(rows + _gone(keeper.record, fresh))
        _take(keeper.record, fresh)
        self._sup.configure(keeper)
        keeper.ask(fresh.desired)
        log.info("worker_followed", worker=fresh.name, generation=fresh.generation)

    async def _prepare(self, keeper: Keeper, fresh: WorkerRecord, rows: list[Statement]) -> None:
        """Have the new version at hand, so that executors of it can start."""
        version = replace(fresh.versions[fresh.current], state=VersionState.BUILDING.value)
        known = keeper.record.versions.get(version.id)
        if known is None:
            keeper.record.versions[version.id] = version
            rows += statements.put_version(version)
        await self._sup.core.ledger.commit(rows)

    async def _swap_in(self, keeper: Keeper, fresh: WorkerRecord) -> None:
        record = keeper.record
        before = record.stamp

        async def commit() -> None:
            rows = declare.rows_of(fresh, list(fresh.versions.values()), None)
            await self._sup.core.ledger.commit(rows + _gone(record, fresh))
            _take(record, fresh)

        async with self._lock_of(fresh.name):
            if record.stamp != before or record.uid not in self._sup.keepers:
                return
            try:
                await swap(keeper, fresh.current, commit)
            except WorkManagerError as error:
                self._not_before[record.uid] = trio.current_time() + SWAP_RETRY_S
                log.warning("version_not_followed", worker=record.name, error=str(error)[:500])
                return
            self._sup.configure(keeper)
            keeper.ask(fresh.desired)
            log.info("worker_followed", worker=fresh.name, version=fresh.current)

    async def _leave(self, keeper: Keeper, stamp: str) -> None:
        """Give up a worker that was deleted on another host; its attempts may end."""
        async with self._lock_of(keeper.record.name):
            if keeper.record.uid in self._sup.keepers and keeper.record.stamp == stamp:
                await self._forget(keeper, drain=True)
                log.info("worker_left", worker=keeper.record.name, uid=keeper.record.uid)

    async def _code_rows(self, fresh: WorkerRecord) -> list[Statement]:
        """Return the rows of the code that this host has not got; what is lost is told."""
        rows: list[Statement] = []
        for digest in {version.code_digest for version in fresh.versions.values()}:
            known = await self._sup.store.read(partial(queries.get_code, digest=digest))
            if known is not None:
                continue
            code = await self._registry.code(fresh.uid, digest)
            if code is None:
                log.error("registry_code_missing", worker=fresh.name, digest=digest)
            else:
                rows += statements.put_code(digest, code)
        return rows

    # -- beside ------------------------------------------------------------------------------

    def _apart(self, uid: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do what takes as long as an executor takes, while others are followed."""
        if uid not in self._busy:
            self._busy[uid] = trio.Event()
            self._following.start_soon(self._alone, uid, work)

    async def _alone(self, uid: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except WorkManagerError as error:
            log.warning("worker_not_followed", uid=uid, error=str(error)[:500])
        except Exception:  # the border of a worker: the others are followed all the same
            log.exception("worker_not_followed", uid=uid)
        finally:
            self._busy.pop(uid).set()


def _take(record: WorkerRecord, fresh: WorkerRecord) -> None:
    """Make a record what another host has declared; versions that were refused here stay."""
    record.spec, record.desired = fresh.spec, fresh.desired
    record.generation, record.updated_at = fresh.generation, fresh.updated_at
    record.labels, record.annotations = fresh.labels, fresh.annotations
    record.current, record.stamp = fresh.current, fresh.stamp
    kept = {v.id: v for v in record.versions.values() if v.state == VersionState.REJECTED.value}
    record.versions = {**kept, **fresh.versions}


def _worker_rows(record: WorkerRecord) -> list[Statement]:
    return statements.put_worker(record.row())


def _gone(record: WorkerRecord, fresh: WorkerRecord) -> list[Statement]:
    """Return the deletion of the versions that another host has deleted."""
    return [
        statement
        for version in record.versions.values()
        if version.id not in fresh.versions and version.state != VersionState.REJECTED.value
        for statement in statements.delete_version(version)
    ]
