"""The calls about versions, code and executors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.engines import registry as engines
from workmanager.errors import CodeError, ConflictError, NotFoundError, Reason
from workmanager.lifecycle.launch import StartError
from workmanager.model.code import put_code
from workmanager.model.names import canonical_engine
from workmanager.model.resources import Executor, Operation, Page, Version
from workmanager.model.spec import Code
from workmanager.model.states import VersionState
from workmanager.service import declare, views
from workmanager.service.paging import paged
from workmanager.service.workers import WorkerCalls
from workmanager.store import queries, statements
from workmanager.telemetry.processes import usages_of

if TYPE_CHECKING:
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.store.rows import VersionRow
    from workmanager.store.sql import Statement


class VersionCalls(WorkerCalls):
    """Versions, code, executors."""

    async def create_version(
        self, ref: str, content: bytes, media_type: str, *, promote: bool = True
    ) -> Version:
        """Make a version of new code; with *promote* it is swapped in while events flow.

        Raises:
            CodeError, StartError: It does not run; it is kept as REJECTED, nothing else changed.
        """
        keeper = self._keeper(ref)
        async with self._turn(keeper.record.name):
            bare = keeper.record.spec.model_copy(
                update={"code": Code(), "engine": canonical_engine(media_type)}
            )
            spec = put_code(bare, content)
            engines.require(spec.engine, self._sup.settings)
            row = declare.new_version(keeper.record, spec, len(content))
            if row.id == keeper.record.current:
                return views.version(keeper, keeper.record.versions[row.id])
            if promote:
                await self._swap(keeper, spec, content, keeper.record.labels)
            else:
                await self._keep(keeper, row, content)
            return views.version(keeper, keeper.record.versions[row.id])

    async def list_versions(
        self, ref: str, *, page_size: int = 50, page_token: str = ""
    ) -> Page[Version]:
        """Return a page of a worker's versions, newest first."""
        keeper = self._keeper(ref)
        rows = sorted(keeper.record.versions.values(), key=_newest_first)
        page = paged(
            rows, _newest_first, page_size=page_size, page_token=page_token, query=keeper.record.uid
        )
        shown = [views.version(keeper, row) for row in page.items]
        return Page(items=shown, next_page_token=page.next_page_token)

    async def get_version(self, ref: str, version: str) -> Version:
        """Return one version."""
        keeper = self._keeper(ref)
        return views.version(keeper, self._known(keeper, version))

    async def promote_version(self, ref: str, version: str) -> Operation:
        """Make a version current."""
        self._known(self._keeper(ref), version)
        return await self.rollback_worker(ref, version=version)

    async def delete_version(self, ref: str, version: str) -> None:
        """Forget a version that is not current.

        Raises:
            ConflictError: It is current, or an executor still runs it (INVALID_STATE).
        """
        keeper = self._keeper(ref)
        async with self._turn(keeper.record.name):
            row = self._known(keeper, version)
            used = any(e.version == version for e in keeper.executors.values())
            if version == keeper.record.current or used:
                raise ConflictError(f"version {version} of {keeper.record.name!r} is in use")
            del keeper.record.versions[version]
            try:
                await self._commit(
                    keeper.record,
                    lambda: (
                        statements.put_worker(keeper.record.row()) + statements.delete_version(row)
                    ),
                )
            except BaseException:
                keeper.record.versions[version] = row
                raise

    async def get_code(self, ref: str, version: str | None = None) -> tuple[bytes, str]:
        """Return the code of a version (None: the current one) and its media type."""
        keeper = self._keeper(ref)
        row = self._known(keeper, version or keeper.record.current)
        code = await self._sup.store.read(lambda db: queries.get_code(db, row.code_digest))
        if code is None:
            raise NotFoundError(
                f"the code of version {row.id} is not kept any more",
                reason=Reason.VERSION_NOT_FOUND,
            )
        return code, row.engine

    async def list_executors(self, worker: str | None = None) -> Page[Executor]:
        """Return the executors of one worker or of all."""
        keepers = [self._keeper(worker)] if worker is not None else list(self._keepers())
        keepers.sort(key=lambda keeper: keeper.record.name)
        found = [live for keeper in keepers for live in keeper.executors.values()]
        usages = await usages_of(live.inner_pid for live in found)
        return Page(items=[views.executor(live, usages.get(live.inner_pid)) for live in found])

    def _known(self, keeper: Keeper, version: str) -> VersionRow:
        row = keeper.record.versions.get(version)
        if row is None:
            raise NotFoundError(
                f"worker {keeper.record.name!r} has no version {version!r}",
                reason=Reason.VERSION_NOT_FOUND,
            )
        return row

    async def _keep(self, keeper: Keeper, row: VersionRow, content: bytes) -> None:
        """Try a version out and keep it beside the current one."""
        record = keeper.record
        before = record.versions.get(row.id)
        record.versions[row.id] = row
        try:
            with self._sup.holding(row.code_digest, content):
                await keeper.try_out(row.id)
            kept = record.set_version_state(row.id, VersionState.INACTIVE)
        except (CodeError, StartError) as error:
            kept = record.set_version_state(row.id, VersionState.REJECTED, str(error)[:2000])
            await self._sup.core.ledger.commit(_rows(kept, content))
            raise
        except BaseException:
            if before is None:
                del record.versions[row.id]
            raise
        await self._commit(
            record,
            lambda: statements.put_worker(record.row()) + _rows(kept, content),
            code=content,
        )


def _rows(row: VersionRow, content: bytes) -> list[Statement]:
    return statements.put_code(row.code_digest, content) + statements.put_version(row)


def _newest_first(row: VersionRow) -> str:
    return f"{10**12 - row.created_at:020.6f}\0{row.id}"
