"""The calls that declare workers: create, apply, patch; new versions are swapped in warm."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import trio

from workmanager.errors import CodeError, ConflictError, Reason
from workmanager.lifecycle.launch import StartError
from workmanager.lifecycle.swapping import swap
from workmanager.model.code import digest_of
from workmanager.model.manifest import Manifest, Metadata, parse_manifest, patch_manifest
from workmanager.model.resources import ApplyResult, Worker
from workmanager.model.states import DesiredState, VersionState, WorkerState
from workmanager.service import declare, sidecars, views
from workmanager.service.base import Calls
from workmanager.store import queries, statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from workmanager.lifecycle.keeper import Keeper
    from workmanager.lifecycle.record import WorkerRecord
    from workmanager.model.spec import WorkerSpec
    from workmanager.service.operations import Operations
    from workmanager.store.rows import VersionRow
    from workmanager.store.sql import Statement
    from workmanager.supervisor import Supervisor

SETTLE_S = 2.0  # how long a call waits for the state it asks for before it answers

Change = Literal["created", "changed", "unchanged"]


class ApplyCalls(Calls):
    """Declarations."""

    def __init__(self, supervisor: Supervisor, operations: Operations) -> None:
        super().__init__(supervisor, operations)
        self._declaring: dict[str, trio.Lock] = {}

    async def create_worker(self, manifest: Mapping[str, object], *, start: bool = True) -> Worker:
        """Create a worker, start it and return once it serves (or is stopped, as asked).

        Raises:
            ManifestError: With every fault.
            ConflictError: The name is taken (WORKER_EXISTS).
            CodeError, StartError: The code cannot be had or does not run; nothing was created.
        """
        parsed = parse_manifest(manifest)
        async with self._turn(parsed.metadata.name):
            if self._find(parsed.metadata.name) is not None:
                raise ConflictError(
                    f"there is a worker {parsed.metadata.name!r} already; apply changes it",
                    reason=Reason.WORKER_EXISTS,
                    metadata={"worker": parsed.metadata.name},
                )
            return await self._create(parsed, start=start)

    async def apply_worker(
        self,
        name: str | None,
        manifest: Mapping[str, object],
        *,
        if_match: str | None = None,
        dry_run: bool = False,
    ) -> ApplyResult:
        """Make the worker what *manifest* says; says whether that created or changed anything.

        Raises:
            ManifestError: With every fault.
            ConflictError: It has changed since *if_match* was read (ETAG_MISMATCH).
            CodeError, StartError: The new version does not run; the old one goes on, untouched.
        """
        parsed = parse_manifest(manifest, name=name)
        async with self._turn(parsed.metadata.name):
            keeper = self._find(parsed.metadata.name)
            if keeper is not None:
                declare.check_etag(keeper.record, if_match)
                return await self._change(keeper, parsed, dry_run=dry_run)
            if if_match is not None:
                raise ConflictError(
                    f"there is no worker {parsed.metadata.name!r} to match {if_match}",
                    reason=Reason.ETAG_MISMATCH,
                )
            if dry_run:
                return ApplyResult.model_construct(
                    change="created", worker=await self._preview(parsed)
                )
            created = await self._create(parsed, start=True)
            return ApplyResult.model_construct(change="created", worker=created)

    async def patch_worker(
        self, ref: str, merge_patch: Mapping[str, object], *, if_match: str | None = None
    ) -> ApplyResult:
        """Change the worker by a JSON merge patch of its manifest (RFC 7396)."""
        keeper = self._keeper(ref)
        async with self._turn(keeper.record.name):
            declare.check_etag(keeper.record, if_match)
            parsed = patch_manifest(manifest_of(keeper.record), merge_patch)
            return await self._change(keeper, parsed, dry_run=False)

    # -- inside ------------------------------------------------------------------------------

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        """Declarations of one name happen one after another, and after those of other hosts.

        Raises:
            SidecarError: It is not known what other hosts have declared.
        """
        if self._sup.registry is not None:
            await self._sup.registry.fresh(trio.current_time())
        async with self._lock_of(name):
            yield

    def _lock_of(self, name: str) -> trio.Lock:
        return self._declaring.setdefault(name, trio.Lock())

    def _forget_turn(self, name: str) -> None:
        """Forget the lock of a name that is gone, unless somebody waits for it or has it."""
        if not self._declaring[name].locked():
            del self._declaring[name]

    async def _commit(
        self,
        record: WorkerRecord,
        rows: Callable[[], list[Statement]],
        *,
        code: bytes | None = None,
    ) -> None:
        """Make a declaration durable: for all hosts first, then here.

        Args:
            rows: Makes the rows, once the record has its stamp.
            code: That of a version which is new.

        Raises:
            ConflictError: Another host was faster.
            SidecarError, StoreError: It was not kept; if the store alone refused, it comes back
                from the registry.
        """
        stamp = record.stamp
        if self._sup.registry is not None:

            async def load(digest: str) -> bytes | None:
                if code is not None and digest == digest_of(code):
                    return code
                return await self._sup.store.read(lambda db: queries.get_code(db, digest))

            record.stamp = await self._sup.registry.put(declare.definition_of(record), load)
        try:
            await self._sup.core.ledger.commit(rows())
        except BaseException:
            record.stamp = stamp
            raise

    async def _create(self, parsed: Manifest, *, start: bool) -> Worker:
        spec, code = await declare.resolve(parsed.spec, self._sup.store, self._sup.settings)
        if not start:
            spec = spec.model_copy(update={"desired_state": DesiredState.STOPPED})
        record = declare.new_record(parsed, spec, self._sup.next_worker_number())
        row = declare.new_version(record, spec, len(code or b""))
        record.versions[row.id] = row
        record.current = row.id
        keeper = await self._sup.add(record)
        try:
            with self._sup.holding(row.code_digest, code):
                await keeper.verify(row.id)
            fresh = record.set_version_state(row.id, VersionState.CURRENT)
            await self._commit(record, lambda: declare.rows_of(record, [fresh], code), code=code)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._sup.remove(keeper, drain=False)
            raise
        self._sup.declare(keeper)
        await self._arrived(keeper)
        return views.worker(keeper)

    async def _arrived(self, keeper: Keeper) -> None:
        """Wait, but not for long, for a worker to be and to hear as it was asked to."""
        await keeper.until(lambda: has_arrived(keeper), SETTLE_S)
        await sidecars.until_known(self._sup.dapr, keeper)

    async def _preview(self, parsed: Manifest) -> Worker:
        """Show what a create would make, without making it."""
        spec, _ = await declare.resolve(parsed.spec, self._sup.store, self._sup.settings)
        record = declare.new_record(parsed, spec, 0)
        return Worker(
            name=record.name,
            uid=record.uid,
            etag=record.etag,
            generation=1,
            labels=record.labels,
            annotations=record.annotations,
            created_at=views.when(record.created_at),
            updated_at=views.when(record.updated_at),
            spec=spec,
            desired_state=record.desired,
            status={"state": WorkerState.PENDING},
        )

    async def _change(self, keeper: Keeper, parsed: Manifest, *, dry_run: bool) -> ApplyResult:
        record = keeper.record
        declare.check_same_name(record, parsed)
        spec, code = await declare.resolve(
            parsed.spec, self._sup.store, self._sup.settings, known=record.spec
        )
        labels, annotations = dict(parsed.metadata.labels), dict(parsed.metadata.annotations)
        same = spec == record.spec and (labels, annotations) == (record.labels, record.annotations)
        if same or dry_run:
            change: Change = "unchanged" if same else "changed"
            return ApplyResult.model_construct(change=change, worker=views.worker(keeper))
        row = declare.new_version(record, spec, len(code or b""))
        if row.id != record.current:
            await self._swap(keeper, spec, code, labels, annotations=annotations)
        else:
            await self._configure(keeper, spec, labels, annotations)
        await self._arrived(keeper)
        return ApplyResult.model_construct(change="changed", worker=views.worker(keeper))

    async def _configure(
        self, keeper: Keeper, spec: WorkerSpec, labels: dict[str, str], annotations: dict[str, str]
    ) -> None:
        """Put a specification into force that the running executors can go on with."""
        record = keeper.record
        undo = (record.spec, record.labels, record.annotations, record.generation, record.desired)
        record.spec, record.labels, record.annotations = spec, labels, annotations
        record.desired = spec.desired_state
        self._touch(record)
        try:
            await self._commit(record, lambda: statements.put_worker(record.row()))
        except BaseException:
            record.spec, record.labels, record.annotations, record.generation, record.desired = undo
            raise
        self._sup.configure(keeper)
        keeper.ask(record.desired)

    async def _swap(
        self,
        keeper: Keeper,
        spec: WorkerSpec,
        code: bytes | None,
        labels: dict[str, str],
        *,
        annotations: dict[str, str] | None = None,
        message: str = "",
    ) -> None:
        """Make *spec* the current version while events flow; the old one goes on if it fails."""
        record = keeper.record
        row = declare.new_version(record, spec, len(code or b""))
        before = record.versions.get(row.id)
        record.versions[row.id] = row

        async def commit() -> None:
            await self._take_on(record, spec, row, code, labels, annotations, message)

        try:
            with self._sup.holding(row.code_digest, code):
                await swap(keeper, row.id, commit)
        except (CodeError, StartError) as error:
            rejected = record.set_version_state(row.id, VersionState.REJECTED, str(error)[:2000])
            if before is not None and before.state != VersionState.REJECTED.value:
                record.versions[row.id] = before
            else:
                rows = statements.put_code(row.code_digest, code) if code is not None else []
                await self._sup.core.ledger.commit(rows + statements.put_version(rejected))
            raise
        except BaseException:
            if before is not None:
                record.versions[row.id] = before
            else:
                record.versions.pop(row.id, None)
            raise
        self._sup.configure(keeper)
        keeper.ask(record.desired)

    async def _take_on(
        self,
        record: WorkerRecord,
        spec: WorkerSpec,
        row: VersionRow,
        code: bytes | None,
        labels: dict[str, str],
        annotations: dict[str, str] | None,
        message: str,
    ) -> None:
        undo = (record.spec, record.labels, record.annotations, record.generation, record.desired)
        versions = dict(record.versions)
        old, record.current = record.current, row.id
        record.spec, record.labels, record.desired = spec, labels, spec.desired_state
        record.annotations = record.annotations if annotations is None else annotations
        self._touch(record)
        fresh = [record.set_version_state(row.id, VersionState.CURRENT, message)]
        if old in record.versions:
            fresh.append(record.set_version_state(old, VersionState.DRAINED))
        try:
            pruned = declare.prune(record)
            await self._commit(
                record, lambda: declare.rows_of(record, fresh, code) + pruned, code=code
            )
        except BaseException:
            record.spec, record.labels, record.annotations, record.generation, record.desired = undo
            record.current, record.versions = old, versions
            raise

    def _touch(self, record: WorkerRecord) -> None:
        record.generation += 1
        record.updated_at = time.time()


def manifest_of(record: WorkerRecord) -> Manifest:
    """Return the manifest that a worker is."""
    metadata = Metadata(name=record.name, labels=record.labels, annotations=record.annotations)
    return Manifest(metadata=metadata, spec=record.spec)


def has_arrived(keeper: Keeper) -> bool:
    """Tell whether what is observed is what is desired, or never will be without help."""
    if keeper.state is WorkerState.DELETING:
        return True
    if keeper.record.desired is not DesiredState.STOPPED:
        # A BACKOFF that a verb has called off is about to end.
        waits = keeper.state is WorkerState.BACKOFF and keeper.retry_at is not None
        if waits or keeper.state is WorkerState.FAILED:
            return True
    return keeper.state.value == keeper.record.desired.value
