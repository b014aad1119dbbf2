"""The calls about applications, their keys and the audit; and the writing of the audit."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Literal

import structlog
import trio

from workmanager.errors import ConflictError, NotFoundError
from workmanager.model.access import (
    AccessKey,
    Application,
    ApplicationSpec,
    AuditEntry,
    IssuedKey,
    NewAccessKey,
    NewApplication,
)
from workmanager.model.resources import Page
from workmanager.policy.access import RANDOM_BYTES, make_key
from workmanager.service.base import Calls
from workmanager.service.paging import make_token, page_size_of, read_token
from workmanager.service.roster import Roster
from workmanager.service.views import when
from workmanager.store import queries, statements
from workmanager.store.rows import AccessKeyRow, ApplicationRow, AuditRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from workmanager.service.operations import Operations
    from workmanager.supervisor import Supervisor

    Outcome = Literal["done", "refused", "failed"]

log = structlog.get_logger("audit")


class AccessCalls(Calls):
    """Applications, access keys, audit.

    Attributes:
        roster: What the doors ask who a caller is.
    """

    def __init__(self, supervisor: Supervisor, operations: Operations) -> None:
        super().__init__(supervisor, operations)
        self._token = trio.lowlevel.current_trio_token()
        self.roster = Roster(self._note_use, in_loop=self._in_loop)

    async def load_access(self) -> None:
        """Read applications and keys from the store; before any door is opened."""
        self.roster.load(*await self._sup.store.read(queries.all_applications))

    # -- applications ------------------------------------------------------------------------

    async def list_applications(self) -> Page[Application]:
        """Return all applications."""
        rows = sorted(self.roster.applications.values(), key=lambda row: row.name)
        return Page(items=[self._application(row) for row in rows])

    async def get_application(self, application: str) -> Application:
        """Return one application."""
        return self._application(self._find_application(application))

    async def create_application(self, application: NewApplication) -> Application:
        """Make an application; it has no key yet.

        Raises:
            ConflictError: There is one of this name.
        """
        if application.name in self.roster.applications:
            raise ConflictError(
                f"there is an application {application.name!r} already; update it instead",
                metadata={"application": application.name},
            )
        now = time.time()
        return await self._put(application.name, application, now, now)

    async def update_application(self, application: str, spec: ApplicationSpec) -> Application:
        """Replace what an application may do; its keys stay, and may do that from now on."""
        row = self._find_application(application)
        return await self._put(application, spec, row.created_at, time.time())

    async def delete_application(self, application: str) -> None:
        """Forget an application; its keys let nobody in from now on."""
        row = self._find_application(application)
        await self._sup.core.ledger.commit(statements.delete_application(row.name))
        self.roster.remove(row.name)

    # -- keys --------------------------------------------------------------------------------

    async def list_access_keys(self, application: str) -> Page[AccessKey]:
        """Return an application's keys, without their secrets."""
        row = self._find_application(application)
        return Page(items=[_access_key(key) for key in self.roster.keys_of(row.name)])

    async def create_access_key(self, application: str, key: NewAccessKey) -> IssuedKey:
        """Make a key; what comes back is the only copy of its secret."""
        row = self._find_application(application)
        made = make_key(os.urandom(RANDOM_BYTES))
        now = time.time()
        kept = AccessKeyRow(
            id=made.id,
            application=row.name,
            description=key.description,
            salt=made.salt,
            digest=made.digest,
            created_at=now,
            expires_at=now + key.expires_in_s if key.expires_in_s else None,
        )
        await self._sup.core.ledger.commit(statements.put_access_key(kept))
        self.roster.keys[kept.id] = kept
        return IssuedKey(access_key=_access_key(kept), token=made.text)

    async def delete_access_key(self, application: str, access_key: str) -> None:
        """Forget a key; it lets nobody in from now on."""
        row = self._find_application(application)
        key = self.roster.keys.get(access_key)
        if key is None or key.application != row.name:
            raise NotFoundError(f"application {row.name!r} has no access key {access_key[:80]!r}")
        await self._sup.core.ledger.commit(statements.delete_access_key(key.id))
        self.roster.keys.pop(key.id, None)

    # -- audit -------------------------------------------------------------------------------

    async def list_audit_entries(
        self,
        *,
        principal: str = "",
        action: str = "",
        page_size: int = 50,
        page_token: str = "",
    ) -> Page[AuditEntry]:
        """Return a page of the audit, newest first; *principal* may be `key:APPLICATION/`."""
        size = page_size_of(page_size)
        query = (principal, action)
        before = read_token(page_token, *query) or 0
        rows = await self._read(
            lambda db: queries.list_audit(
                db, limit=size + 1, principal=principal, action=action, before=before
            )
        )
        token = make_token(rows[size - 1].id, *query) if len(rows) > size else ""
        return Page(items=[_entry(row) for row in rows[:size]], next_page_token=token)

    def note_audit(
        self, principal: str, action: str, target: str, outcome: Outcome, reason: str = ""
    ) -> None:
        """Write down a call; it is in the log at once, and durable with the next commit."""
        emit = log.warning if outcome == "refused" else log.info
        emit(
            "audit", principal=principal, action=action, target=target, outcome=outcome,
            reason=reason,
        )  # fmt: skip
        row = AuditRow(time.time(), principal, action, target, outcome, reason)
        self._sup.core.ledger.write(statements.put_audit(row))
        self._sup.core.ledger.flush()

    # -- inside ------------------------------------------------------------------------------

    async def _put(
        self, name: str, spec: ApplicationSpec, created_at: float, updated_at: float
    ) -> Application:
        grants = [grant.model_dump(mode="json") for grant in spec.grants]
        row = ApplicationRow(name, spec.description, grants, created_at, updated_at)
        await self._sup.core.ledger.commit(statements.put_application(row))
        self.roster.put(row)
        return self._application(row)

    def _find_application(self, name: str) -> ApplicationRow:
        row = self.roster.applications.get(name)
        if row is None:
            raise NotFoundError(
                f"there is no application {name[:80]!r}; `workmanager application list` shows them"
            )
        return row

    def _application(self, row: ApplicationRow) -> Application:
        return Application.model_validate(
            {
                "name": row.name,
                "description": row.description,
                "grants": row.grants,
                "keys": len(self.roster.keys_of(row.name)),
                "created_at": when(row.created_at),
                "updated_at": when(row.updated_at),
            }
        )

    def _note_use(self, key_id: str, at: float) -> None:
        self._sup.core.ledger.write(statements.use_access_key(key_id, at))
        self._sup.core.ledger.flush()

    def _in_loop(self, then: Callable[[], None]) -> None:
        """Run *then* in the loop soon: doors may ask who a caller is from other threads."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(then)


def _access_key(row: AccessKeyRow) -> AccessKey:
    return AccessKey(
        id=row.id,
        application=row.application,
        description=row.description,
        created_at=when(row.created_at),
        expires_at=when(row.expires_at) if row.expires_at is not None else None,
        last_used_at=when(row.last_used_at) if row.last_used_at is not None else None,
    )


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry.model_validate(
        {
            "id": row.id,
            "time": when(row.at),
            "principal": row.principal,
            "action": row.action,
            "target": row.target,
            "outcome": row.outcome,
            "reason": row.reason,
        }
    )
