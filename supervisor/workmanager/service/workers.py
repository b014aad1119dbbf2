"""The calls about workers: look at them, change what is desired of them, delete them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from workmanager.errors import ConflictError, InvalidArgumentError, Reason
from workmanager.lifecycle.swapping import replace
from workmanager.model.diff import diff_specs
from workmanager.model.manifest import parse_manifest
from workmanager.model.resources import Diff, Explanation, FieldChange, Operation, Page, Worker
from workmanager.model.states import DesiredState, VersionState
from workmanager.service import declare, views
from workmanager.service.apply import ApplyCalls
from workmanager.service.explain import explain
from workmanager.service.paging import paged, parse_filter
from workmanager.store import statements

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workmanager.lifecycle.keeper import Keeper
    from workmanager.lifecycle.record import WorkerRecord
    from workmanager.service.operations import Running
    from workmanager.store.rows import VersionRow

FIELDS = ("name", "state", "desiredState", "engine", "group", "topic")
ORDERS = {"name": "name", "": "name", "createdAt": "created_at", "updatedAt": "updated_at"}


class WorkerCalls(ApplyCalls):
    """Workers."""

    # -- look --------------------------------------------------------------------------------

    async def get_worker(self, ref: str) -> Worker:
        """Return one worker."""
        return views.worker(self._keeper(ref))

    async def list_workers(
        self,
        *,
        filter: str = "",  # noqa: A002 - the name on the wire (AIP-160)
        order_by: str = "",
        page_size: int = 50,
        page_token: str = "",
    ) -> Page[Worker]:
        """Return a page of workers."""
        terms = parse_filter(filter, FIELDS)
        if order_by not in ORDERS:
            raise InvalidArgumentError(f"orderBy: use one of {', '.join(k for k in ORDERS if k)}")
        attribute = ORDERS[order_by]

        def key(keeper: Keeper) -> str:
            value = getattr(keeper.record, attribute)
            place = value if isinstance(value, str) else f"{value:020.6f}"
            return f"{place}\0{keeper.record.uid}"

        chosen = sorted((k for k in self._keepers() if _matches(k, terms)), key=key)
        query = (filter, order_by)
        page = paged(chosen, key, page_size=page_size, page_token=page_token, query=query)
        shown = [views.worker(keeper) for keeper in page.items]
        return Page(items=shown, next_page_token=page.next_page_token)

    async def explain_worker(self, ref: str) -> Explanation:
        """Say in one sentence why the worker is or is not processing."""
        return explain(self._sup.core, self._keeper(ref), self._sup.dapr)

    async def diff_worker(self, name: str, manifest: Mapping[str, object]) -> Diff:
        """Say which fields an apply of *manifest* would change."""
        parsed = parse_manifest(manifest, name=name)
        keeper = self._find(parsed.metadata.name)
        if keeper is None:
            return Diff(worker=parsed.metadata.name, exists=False, changes=[])
        changes = [
            change.model_copy(update={"path": f"spec.{change.path}"})
            for change in diff_specs(keeper.record.spec, parsed.spec)
        ]
        for field in ("labels", "annotations"):
            old, new = getattr(keeper.record, field), dict(getattr(parsed.metadata, field))
            if old != new:
                changes.append(FieldChange(path=f"metadata.{field}", old=old, new=new))
        return Diff(worker=parsed.metadata.name, exists=True, changes=changes)

    # -- desired state -----------------------------------------------------------------------

    async def start_worker(self, ref: str) -> Worker:
        """Ask for RUNNING; clears FAILED."""
        return await self._desire(ref, DesiredState.RUNNING)

    async def stop_worker(self, ref: str) -> Worker:
        """Ask for STOPPED; the inbox keeps filling up to its limit."""
        return await self._desire(ref, DesiredState.STOPPED)

    async def pause_worker(self, ref: str) -> Worker:
        """Ask for PAUSED: executors stay warm, nothing is handed out."""
        return await self._desire(ref, DesiredState.PAUSED)

    async def resume_worker(self, ref: str) -> Worker:
        """Ask for RUNNING after a pause.

        Raises:
            ConflictError: The worker is stopped (INVALID_STATE); start it instead.
        """
        keeper = self._keeper(ref)
        if keeper.record.desired is DesiredState.STOPPED:
            raise ConflictError(
                f"worker {keeper.record.name!r} is stopped, not paused; start it instead",
                metadata={"worker": keeper.record.name, "state": keeper.state.value},
            )
        return await self._desire(ref, DesiredState.RUNNING)

    async def restart_worker(self, ref: str) -> Worker:
        """Replace the executors by fresh ones of the same version, warm; no event waits for it.

        Raises:
            ConflictError: The worker is stopped (INVALID_STATE).
            CodeError, StartError: The fresh executors did not start; the old ones go on.
        """
        keeper = self._keeper(ref)
        if keeper.record.desired is DesiredState.STOPPED:
            raise ConflictError(f"worker {keeper.record.name!r} is stopped; start it instead")
        if keeper.dispatch.executors:
            await replace(keeper, "restart")
        else:
            keeper.ask(keeper.record.desired)
            await self._arrived(keeper)
        return views.worker(keeper)

    async def _desire(self, ref: str, desired: DesiredState) -> Worker:
        keeper = self._keeper(ref)
        async with self._turn(keeper.record.name):
            record = keeper.record
            if record.desired is not desired:
                row = record.row()
                record.spec = record.spec.model_copy(update={"desired_state": desired})
                old, record.desired = record.desired, desired
                self._touch(record)
                try:
                    await self._commit(record, lambda: statements.put_worker(record.row()))
                except BaseException:
                    record.desired = old
                    record.spec = record.spec.model_copy(update={"desired_state": old})
                    record.generation = row.generation
                    raise
                keeper.dispatch.spec = record.spec
            keeper.ask(desired)
        await self._arrived(keeper)
        return views.worker(keeper)

    # -- versions of a worker ----------------------------------------------------------------

    async def rollback_worker(
        self, ref: str, *, version: str | None = None, message: str = ""
    ) -> Operation:
        """Make an earlier version current; without *version* the one before the current."""
        keeper = self._keeper(ref)
        target = version or _previous(keeper.record)
        self._version(keeper, target)

        async def work(operation: Running) -> None:
            async with self._turn(keeper.record.name):
                operation.progress = f"starting version {target}"
                spec = keeper.record.version_spec(target).model_copy(
                    update={"desired_state": keeper.record.desired}
                )
                await self._swap(keeper, spec, None, keeper.record.labels, message=message)
                operation.result = {"worker": keeper.record.name, "version": target}

        return self._operations.start("rollback", keeper.record.name, work)

    async def delete_worker(
        self, ref: str, *, drain: bool = True, if_match: str | None = None
    ) -> Operation:
        """Stop the worker and forget it, its inbox, its versions and its dead letters."""
        keeper = self._keeper(ref)
        declare.check_etag(keeper.record, if_match)
        record = keeper.record

        # One that is not of the registry may be why the registry cannot be followed.
        is_shared = self._sup.registry is not None and bool(record.stamp)

        async def work(operation: Running) -> None:
            async with self._turn(record.name) if is_shared else self._lock_of(record.name):
                operation.progress = "draining" if drain else "stopping"
                if record.uid in self._sup.keepers:  # else an earlier call has done it meanwhile
                    if self._sup.registry is not None and is_shared:
                        await self._sup.registry.remove(declare.definition_of(record))
                    await self._forget(keeper, drain=drain)
                operation.result = {"worker": record.name, "uid": record.uid}
            self._forget_turn(record.name)

        return self._operations.start("delete", record.name, work)

    async def _forget(self, keeper: Keeper, *, drain: bool) -> None:
        """End a worker and forget all of it on this host."""
        record = keeper.record
        record.deleted_at = time.time()
        await self._sup.core.ledger.commit(statements.put_worker(record.row()))
        await self._sup.remove(keeper, drain=drain)
        await self._sup.core.ledger.commit(statements.delete_worker(record.no))

    def _version(self, keeper: Keeper, version: str) -> VersionRow:
        row = keeper.record.versions.get(version)
        if row is None:
            raise ConflictError(
                f"worker {keeper.record.name!r} has no version {version!r};"
                f" `workmanager version list {keeper.record.name}` shows them",
                reason=Reason.VERSION_NOT_FOUND,
            )
        return row


def _previous(record: WorkerRecord) -> str:
    """Return the newest version that is older than the current one: twice goes back twice."""
    made_at = record.versions[record.current].created_at
    usable = [
        v
        for v in record.versions.values()
        if v.created_at < made_at and v.state != VersionState.REJECTED.value
    ]
    if not usable:
        raise ConflictError(
            f"worker {record.name!r} has no earlier version to go back to",
            reason=Reason.VERSION_NOT_FOUND,
        )
    return max(usable, key=lambda v: v.created_at).id


def _matches(keeper: Keeper, terms: list[tuple[str, bool, str]]) -> bool:
    return all((value in _values(keeper, field)) is equal for field, equal, value in terms)


def _values(keeper: Keeper, field: str) -> list[str]:
    record = keeper.record
    if field.startswith("labels."):
        return [record.labels.get(field.removeprefix("labels."), "")]
    group = record.spec.group
    found = {
        "name": [record.name],
        "state": [keeper.state.value],
        "desiredState": [record.desired.value],
        "engine": [record.spec.engine],
        "group": [group.name if group else ""],
        "topic": [trigger.topic for trigger in record.spec.triggers],
    }
    return found[field]
