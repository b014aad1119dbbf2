"""The applications and their keys in memory: who a bearer token is, and what they may do."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from workmanager.model.access import Grant
from workmanager.policy.access import is_secret, split_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from workmanager.store.rows import AccessKeyRow, ApplicationRow

KEY_PREFIX = "key:"
USED_S = 3600.0  # a key's last use is written at most so often

_NOBODY = b"\0" * 32  # compared with where a key is unknown, so that it takes as long


class Roster:
    """Every application, by name, and every key, by id.

    Args:
        on_use: Called with a key's id and the time, when its use is to be written.
        in_loop: Runs a function in the loop that owns the roster, from any thread.
    """

    def __init__(
        self, on_use: Callable[[str, float], None], *, in_loop: Callable[[Callable[[], None]], None]
    ) -> None:
        self.applications: dict[str, ApplicationRow] = {}
        self.keys: dict[str, AccessKeyRow] = {}
        self._grants: dict[str, list[Grant]] = {}
        self._on_use = on_use
        self._in_loop = in_loop

    def load(self, applications: Iterable[ApplicationRow], keys: Iterable[AccessKeyRow]) -> None:
        """Take over what the store holds."""
        for row in applications:
            self.put(row)
        self.keys.update((key.id, key) for key in keys)

    def put(self, row: ApplicationRow) -> None:
        """Add or replace an application."""
        self.applications[row.name] = row
        self._grants[row.name] = [Grant.model_validate(grant) for grant in row.grants]

    def remove(self, name: str) -> None:
        """Forget an application and its keys."""
        self.applications.pop(name, None)
        self._grants.pop(name, None)
        for key in self.keys_of(name):
            del self.keys[key.id]

    def keys_of(self, application: str) -> list[AccessKeyRow]:
        """Return an application's keys, oldest first."""
        found = [key for key in self.keys.values() if key.application == application]
        return sorted(found, key=lambda key: (key.created_at, key.id))

    def authenticate(self, token: str) -> str:
        """Return the principal whose key *token* is, `key:APPLICATION/ID`; empty for nobody.

        May be called from any thread.
        """
        parts = split_key(token)
        if parts is None:
            return ""
        key = self.keys.get(parts[0])
        if key is None:
            is_secret(parts[1], _NOBODY, _NOBODY)
            return ""
        now = time.time()
        if not is_secret(parts[1], key.salt, key.digest) or _is_over(key, now):
            return ""
        if now - (key.last_used_at or 0.0) > USED_S:
            self._in_loop(lambda: self._use(key.id, now))
        return f"{KEY_PREFIX}{key.application}/{key.id}"

    def _use(self, key_id: str, now: float) -> None:
        key = self.keys.get(key_id)
        if key is not None and now - (key.last_used_at or 0.0) > USED_S:
            self.keys[key_id] = replace(key, last_used_at=now)
            self._on_use(key_id, now)

    def grants_of(self, principal: str) -> Sequence[Grant]:
        """Return what the principal of a key may do now; nothing once the key is gone or over."""
        application, _, key_id = principal.removeprefix(KEY_PREFIX).partition("/")
        key = self.keys.get(key_id)
        if key is None or key.application != application or _is_over(key, time.time()):
            return ()
        return self._grants.get(application, ())


def _is_over(key: AccessKeyRow, now: float) -> bool:
    return key.expires_at is not None and now >= key.expires_at
