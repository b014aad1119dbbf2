"""Who may call what: the one place where rights are enforced, for every door.

A door asks `Access.service_for(principal)` for the service and makes its calls there: each is
checked by the rule of its name in `rules`, shows only what may be seen, and is written to the audit
if it changes something. A call without a rule is refused to all but administrators, so one that is
forgotten harms nobody.

    uid:N, token, dev          administrators: everything
    key:APPLICATION/ID         what the application's grants say
    (empty)                    nobody: probes only
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import trio

from workmanager.api.rules import ADMIN, OPEN, RULES, Calling, arguments
from workmanager.errors import AuthenticationError, Reason, WorkManagerError
from workmanager.model.access import EVERY, Right
from workmanager.policy.access import allows, allows_anything, allows_secret
from workmanager.service.roster import KEY_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from workmanager.api.protocol import Service
    from workmanager.api.rules import Rule
    from workmanager.service import Service as RealService

REFUSED_AGAIN_S = 60.0  # the same refusal of the same caller is written down so often
REFUSALS_KEPT = 1000


class Access:
    """The rights of all callers of one service."""

    def __init__(self, service: RealService) -> None:
        self.service = service
        self._refused: dict[tuple[str, str, str], float] = {}

    def authenticate(self, token: str) -> str:
        """Return the principal whose access key *token* is; empty for nobody."""
        return self.service.roster.authenticate(token)

    def service_for(self, principal: str) -> Service:
        """Return the service as *principal* may use it."""
        return cast("Service", Guarded(self, principal))

    def is_admin(self, principal: str) -> bool:
        """Tell whether *principal* may do everything."""
        return bool(principal) and not principal.startswith(KEY_PREFIX)

    def may(self, principal: str, right: Right, worker: str) -> bool:
        """Tell whether *principal* has *right* on *worker*, a name or `*` for all."""
        if self.is_admin(principal):
            return True
        return allows(self.service.roster.grants_of(principal), right, worker)

    def may_anything(self, principal: str, right: Right) -> bool:
        """Tell whether *principal* has *right* on any worker."""
        if self.is_admin(principal):
            return True
        return allows_anything(self.service.roster.grants_of(principal), right)

    def may_give(self, principal: str, worker: str, secret: str) -> bool:
        """Tell whether *principal* may give *secret* to *worker*."""
        if self.is_admin(principal):
            return True
        return allows_secret(self.service.roster.grants_of(principal), worker, secret)

    def check(self, principal: str, right: Right, worker: str) -> None:
        """Refuse unless *principal* has *right* on *worker*, a name or `*` for all.

        Raises:
            AuthenticationError: It is nobody.
            WorkManagerError: It may not (PERMISSION_DENIED).
        """
        if not principal:
            raise AuthenticationError("this call needs credentials")
        if not self.may(principal, right, worker):
            whom = "all workers" if worker == EVERY else f"worker {worker!r}"
            raise denied(f"{principal} has no right {right.value} on {whom}")

    def note(self, principal: str, action: str, target: str, error: Exception | None) -> None:
        """Write a call that changes something to the audit."""
        if error is None:
            self.service.note_audit(principal, action, target, "done")
        else:
            reason = error.reason.name if isinstance(error, WorkManagerError) else "INTERNAL"
            self.service.note_audit(principal, action, target, "failed", reason)

    def note_refusal(self, principal: str, action: str, target: str) -> None:
        """Write a refused call to the audit, the same one at most once a minute."""
        now = trio.current_time()
        key = (principal, action, target)
        if now - self._refused.get(key, -REFUSED_AGAIN_S) < REFUSED_AGAIN_S:
            return
        if len(self._refused) >= REFUSALS_KEPT:
            self._refused.clear()
        self._refused[key] = now
        self.service.note_audit(principal, action, target, "refused", "PERMISSION_DENIED")


class Guarded:
    """The service for one principal; has every method of it, see `Access.service_for`."""

    __slots__ = ("_access", "_principal")

    def __init__(self, access: Access, principal: str) -> None:
        self._access = access
        self._principal = principal

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - one for all methods of the service
        rule = RULES.get(name, ADMIN)
        method = getattr(self._access.service, name)
        if rule is OPEN or (self._access.is_admin(self._principal) and not rule.is_audited):
            return method
        guard = _Guard(self._access, self._principal, rule, method)
        return guard.stream if rule.is_stream else guard.ask if rule.ask else guard.call


class _Guard:
    """One method for one principal."""

    def __init__(
        self, access: Access, principal: str, rule: Rule, method: Callable[..., Any]
    ) -> None:
        self._access = access
        self._principal = principal
        self._rule = rule
        self._method = method

    async def call(self, *args: object, **kwargs: object) -> object:
        """Decide, call, write to the audit, and show what may be seen."""
        calling = await self._decided(args, kwargs)
        try:
            if self._rule.run is not None and not self._access.is_admin(self._principal):
                result = await self._rule.run(calling)
            else:
                result = await self._method(*args, **kwargs)
        except Exception as error:
            self._note(calling, error)
            raise
        self._note(calling, None)
        return self._shown(calling, result)

    def ask(self, *args: object, **kwargs: object) -> object:
        """Answer a call that does not wait."""
        assert self._rule.ask is not None  # noqa: S101 - see `Guarded`
        return self._rule.ask(
            Calling(self._access, self._principal, arguments(self._method, args, kwargs))
        )

    @asynccontextmanager
    async def stream(self, *args: object, **kwargs: object) -> AsyncIterator[object]:
        """Decide before the stream begins; what may not be seen is left out of it."""
        calling = await self._decided(args, kwargs)
        async with self._method(*args, **kwargs) as items:
            yield self._shown(calling, items)

    async def _decided(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Calling:
        calling = Calling(self._access, self._principal, arguments(self._method, args, kwargs))
        try:
            await self._rule.decide(calling)
        except WorkManagerError as error:
            if error.reason is Reason.PERMISSION_DENIED:
                self._access.note_refusal(self._principal, self._method.__name__, calling.target)
            raise
        return calling

    def _note(self, calling: Calling, error: Exception | None) -> None:
        if self._rule.is_audited:
            self._access.note(self._principal, self._method.__name__, calling.target, error)

    def _shown(self, calling: Calling, result: object) -> object:
        if self._rule.show is None or self._access.is_admin(self._principal):
            return result
        return self._rule.show(calling, result)


def denied(message: str) -> WorkManagerError:
    """Make the refusal of a caller that is known and may not."""
    return WorkManagerError(message, reason=Reason.PERMISSION_DENIED)
