"""One event, one handler: claims on the events of groups that say they reach across the cluster.

Each app-id gets every event of a topic, and brokers bring an event twice, to two hosts of one
app-id, when an answer is late. Groups of `scope: cluster` share events by who claims them first:

```
wm.claim.<group>.<hash>         {"app": ..., "host": ...}   written once, before the commit
wm.claim.<group>.<hash>.done    written after it
```

Where another app-id has the claim, the event is for that. Where another host of this app-id has it
and is done, the event has been here. If it is not done, that host may have died before its commit:
it is given a moment, then the claim is taken over. So two hosts of one app-id can have an event, if
one is frozen between claim and commit; two app-ids cannot.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workmanager.sidecar.state import Entry, StateStore

TTL_S = 86_400  # how long a claim is kept: as long as a broker may bring an event again
CALLS = 64  # at a time
LOOK_S = 0.1  # between two looks whether the host that has a claim is done
PATIENCE_S = 2.0  # after which it counts as dead

log = structlog.get_logger()


@dataclass(slots=True)
class Claimed:
    """What came of claiming: the keys that are ours, and those whose events are not."""

    ours: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)


class Claims:
    """What this host claims of the events of its groups."""

    def __init__(self, state: StateStore, host: str) -> None:
        self._state = state
        self._host = host
        self._limiter = trio.CapacityLimiter(CALLS)

    async def take(self, app_id: str, keys: Iterable[str]) -> Claimed:
        """Claim events by their keys, see `claim_key`.

        Raises:
            SidecarError: The state store does not answer; what was claimed is given up in time.
        """
        claimed = Claimed()
        errors: list[SidecarError] = []

        async def claim(key: str) -> None:
            try:
                is_ours = await self._claim(key, app_id)
            except SidecarError as error:
                errors.append(error)
                nursery.cancel_scope.cancel()
                return
            (claimed.ours if is_ours else claimed.lost).add(key)

        async with trio.open_nursery() as nursery:
            for key in set(keys):
                nursery.start_soon(claim, key)
        if errors:
            raise errors[0]
        return claimed

    async def done(self, keys: Iterable[str]) -> None:
        """Tell the other hosts that the events of these claims are durable here."""

        async def tell(key: str) -> None:
            try:
                async with self._limiter:
                    await self._state.put(_done_key(key), b"1", etag="", ttl_s=TTL_S)
            except SidecarError as error:  # then the event may be taken in twice
                log.warning("claim_not_confirmed", key=key, error=str(error))

        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(tell, key)

    async def _claim(self, key: str, app_id: str) -> bool:
        ours = json.dumps({"app": app_id, "host": self._host}).encode()
        etag, waited_s = "", 0.0
        while True:
            async with self._limiter:
                if await self._state.put(key, ours, etag=etag, ttl_s=TTL_S):
                    return True
                found = await self._state.get_many([key, _done_key(key)])
            entry = found.get(key)
            app, host = _owner(entry)
            if entry is not None and app != app_id:
                return False
            if _done_key(key) in found:
                return False
            if host == self._host:
                return True  # the answer was lost, or the event has come again to us
            etag = ""
            if entry is not None and waited_s >= PATIENCE_S:
                etag = entry.etag
            elif entry is not None:
                await trio.sleep(LOOK_S)
                waited_s += LOOK_S


def claim_key(group: str, topic: str, source: str, event_id: str) -> str:
    """Name a group's claim on an event of a topic."""
    digest = hashlib.sha256(f"{topic}\0{source}\0{event_id}".encode()).hexdigest()[:32]
    return f"wm.claim.{group}.{digest}"


def _done_key(key: str) -> str:
    return f"{key}.done"


def _owner(entry: Entry | None) -> tuple[str, str]:
    try:
        facts = json.loads(entry.value if entry is not None else b"")
        return str(facts["app"]), str(facts["host"])
    except (ValueError, TypeError, KeyError):
        return "", ""  # whatever stands there is not ours
