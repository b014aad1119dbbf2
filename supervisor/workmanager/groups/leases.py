"""A group's lock across hosts: leases by turn, over a lock that knows neither renewal nor fencing.

```
wanted -> TryLock, again and again -> fencing token raised in state -> held, for `maxHold` at most
       -> no attempt starts any more, those in hand end -> Unlock -> a pause for the other hosts
```

The host's own lock (`local.HostLock`) stays the order among the executors of this host; a turn of
it takes a lease along. Every acquisition has an owner name of its own: the answer to a call may be
lost, and an unlock that comes late must not open a newer lock.

The token is a counter in the state store, raised by etag at every acquisition, so that it rises
across hosts, restarts and lock stores that have lost their locks. Beside it stands who has it.
"""

from __future__ import annotations

import random
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.errors import SidecarError
from workmanager.groups import fencing
from workmanager.groups.cluster import RETRY_S
from workmanager.groups.lease import Lease, resource_of, ttl_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workmanager.groups.cluster import Cluster, Shared

POLL_S = 0.15  # between two tries for a lock that somebody else holds; a quarter more or less
PAUSE_S = 0.3  # after a full turn: longer than every poll, so that whoever waits comes first
IDLE_S = 0.02  # how long a lease is kept for the next event
WATCH_S = 0.5  # between two looks whether a lease in use was revoked
REVOKE_S = 1.5  # what its holder gets to notice, and to kill what runs under it
TRIES = 4  # slots tried at a time, of a group with a limit

log = structlog.get_logger()


@dataclass(slots=True)
class _Holding:
    """The leases of one key; *idle* are those that no turn uses."""

    leases: dict[int, Lease] = field(default_factory=dict)  # by slot
    idle: list[Lease] = field(default_factory=list)
    is_asking: bool = False
    not_before: float = 0.0


class Leases:
    """The leases of one group on this host; used from the trio loop only.

    Attributes:
        error: Why no lease can be had; empty while the stores answer.
        asking_since: By key, when a lease was asked for that is not there yet (boot time).
        limit: How many there are of the group, or of each key, in the whole cluster.
        wants: Tells whether a lease of a key still has a use here.
        on_grant: Called with a lease as soon as it is held.
        on_revoked: Called with a lease that an operator has taken from this host.
    """

    def __init__(self, group: str, cluster: Cluster) -> None:
        self.group = group
        self.error = ""
        self.limit = 1
        self.hold_s = 5.0
        self.run_s: Callable[[], float] = lambda: 0.0
        self.wants: Callable[[str], bool] = lambda _: False
        self.on_grant: Callable[[Lease], None] = lambda _: None
        self.on_revoked: Callable[[Lease], None] = lambda _: None
        self.asking_since: dict[str, float] = {}
        self.granted = self.lost = 0
        self.wait_s = self.held_s = 0.0
        self._cluster = cluster
        self._now = cluster.clock
        self._holdings: dict[str, _Holding] = {}
        self._left: dict[Lease, int] = {}  # tokens of those that are held
        self._ending = 0  # locks that are being given back
        self._ended = trio.Event()
        self._rng = random.Random()  # noqa: S311 - spreads the hosts, hides nothing

    @property
    def held(self) -> list[Lease]:
        """The leases this host holds now."""
        return [lease for h in self._holdings.values() for lease in h.leases.values()]

    def holds(self, lease: Lease) -> bool:
        """Tell whether what was done under *lease* may still be written."""
        holding = self._holdings.get(lease.key)
        is_ours = holding is not None and lease in holding.leases.values()
        return is_ours and lease.is_valid(self._now())

    def may_start(self, lease: Lease, run_s: float) -> bool:
        """Tell whether an attempt that takes up to *run_s* may start under *lease* now."""
        return lease.may_start(self._now(), run_s)

    def take(self, key: str, run_s: float) -> Lease | None:
        """Return a lease for an attempt of *run_s*; None: one is asked for, `on_grant` follows."""
        holding = self._holdings.setdefault(key, _Holding())
        now = self._now()
        while holding.idle:
            lease = holding.idle.pop()
            if lease.may_start(now, run_s) and self._left.get(lease):
                return lease
            self._release(lease, pause=True)
        self._ask(key, holding)
        return None

    def next_token(self, lease: Lease) -> int:
        """Return the token of a turn that begins under *lease*, which `take` has just returned."""
        self._left[lease] -= 1
        return lease.token + fencing.BLOCK - 1 - self._left[lease]

    def give_back(self, lease: Lease) -> None:
        """Take a lease back whose turn has ended; it is kept a moment for the next one."""
        holding = self._holdings.get(lease.key)
        if holding is None or lease not in holding.leases.values():
            return
        if self._now() >= lease.turn_ends_at:
            self._release(lease, pause=True)
            return
        holding.idle.append(lease)
        self._cluster.nursery.start_soon(self._release_idle, lease)

    def note_lost(self, lease: Lease) -> None:
        """Count a lease that ran out while it was in use; its turn is about to end."""
        self.lost += 1
        log.warning("lease_lost", group=self.group, key=lease.key, token=lease.token)

    def close(self) -> None:
        """Give everything back: the group has no member here any more."""
        self.wants = lambda _: False
        for lease in self.held:
            self._release(lease, pause=False)

    async def aclose(self) -> None:
        """Give everything back and return once it is."""
        self.close()
        while self._ending:
            await self._ended.wait()

    # -- asking ------------------------------------------------------------------------------

    def _ask(self, key: str, holding: _Holding) -> None:
        if holding.is_asking or len(holding.leases) >= self.limit:
            return
        holding.is_asking = True
        self.asking_since[key] = self._now()
        self._cluster.nursery.start_soon(self._acquire, key, holding)

    async def _acquire(self, key: str, holding: _Holding) -> None:
        """Try until a lease is had, or has no use any more."""
        began = self.asking_since[key]
        lease = None
        with self._asking(key, holding):
            while lease is None and self.wants(key):
                await trio.sleep(max(0.0, holding.not_before - self._now()))
                wait_s = POLL_S * self._rng.uniform(0.75, 1.25)
                try:
                    lease = await self._try_slots(key, holding)
                    self._heal()
                except SidecarError as error:
                    self._fail(error)
                    wait_s = RETRY_S
                if lease is None:
                    await trio.sleep(wait_s)
        if lease is not None:
            self.granted += 1
            self.wait_s += self._now() - began
            holding.idle.append(lease)
            self._cluster.nursery.start_soon(self._release_idle, lease)
            self._cluster.nursery.start_soon(self._watch, lease)
            self.on_grant(lease)

    @contextmanager
    def _asking(self, key: str, holding: _Holding) -> Iterator[None]:
        try:
            yield
        finally:
            holding.is_asking = False
            del self.asking_since[key]
            self._tidy(key)

    async def _try_slots(self, key: str, holding: _Holding) -> Lease | None:
        free = [slot for slot in range(self.limit) if slot not in holding.leases]
        for slot in self._rng.sample(free, min(TRIES, len(free))):
            async with self._cluster.calls:
                lease = await self._try(key, slot)
            if lease is not None:
                holding.leases[slot] = lease
                self._left[lease] = fencing.BLOCK
                return lease
        return None

    async def _try(self, key: str, slot: int) -> Lease | None:
        shared, resource = self._shared(), resource_of(self.group, key, slot)
        owner = f"{self._cluster.host}/{secrets.token_hex(8)}"
        hold_s, asked_at = self.hold_s, self._now()
        ttl_s = ttl_for(hold_s, self.run_s())
        is_ours, is_held = True, False  # until the answer says otherwise, it may be ours
        try:
            is_ours = await shared.locks.try_lock(resource, owner, ttl_s)
            if not is_ours:
                return None
            token = await fencing.raise_token(
                shared.state,
                self.group,
                fencing.Holder(resource, owner, self._cluster.host, key, fencing.expiry(ttl_s)),
                floor=self._cluster.notes.highest_token(self.group),
            )
            lease = Lease(resource, key, owner, token, asked_at, ttl_s, hold_s)
            is_held = lease.may_start(self._now(), 0.0)
        finally:
            if is_ours and not is_held:
                self._cluster.nursery.start_soon(self._unlock, resource, owner, asked_at + ttl_s)
        self._cluster.notes.note_token(self.group, token + fencing.BLOCK - 1)
        self._cluster.notes.note_held(owner, resource)
        return lease if is_held else None

    # -- giving back -------------------------------------------------------------------------

    async def _release_idle(self, lease: Lease) -> None:
        await trio.sleep(IDLE_S)
        holding = self._holdings.get(lease.key)
        if holding is not None and lease in holding.idle:
            holding.idle.remove(lease)
            self._release(lease, pause=False)

    def _release(self, lease: Lease, *, pause: bool) -> None:
        holding = self._holdings[lease.key]
        slot = next((slot for slot, held in holding.leases.items() if held is lease), None)
        if slot is None:
            return
        del holding.leases[slot], self._left[lease]
        if lease in holding.idle:
            holding.idle.remove(lease)
        now = self._now()
        self.held_s += now - lease.asked_at
        if pause:
            holding.not_before = now + PAUSE_S
        self._ending += 1
        self._cluster.nursery.start_soon(self._end, lease, PAUSE_S if pause else 0.0)

    async def _end(self, lease: Lease, pause_s: float) -> None:
        await self._unlock(lease.resource, lease.owner, lease.asked_at + lease.ttl_s)
        self._ending -= 1
        ended, self._ended = self._ended, trio.Event()
        ended.set()
        await trio.sleep(pause_s)
        self._tidy(lease.key)

    async def _unlock(self, resource: str, owner: str, expiry: float) -> None:
        """Give a lock back, however often that takes until it goes by itself."""
        while self._now() < expiry:
            try:
                async with self._cluster.calls:
                    await self._shared().locks.unlock(resource, owner)
            except SidecarError as error:
                self._fail(error)
                await trio.sleep(RETRY_S)
            else:
                break
        self._cluster.notes.note_freed(owner)

    def _tidy(self, key: str) -> None:
        holding = self._holdings.get(key)
        if key and holding is not None and not holding.leases and not holding.is_asking:
            del self._holdings[key]

    # -- operators ---------------------------------------------------------------------------

    async def look(self) -> fencing.Fence | None:
        """Return who took the group's lock last, while it may still have it.

        Raises:
            SidecarError: The state store does not say.
        """
        fence = await fencing.read_fence(self._shared().state, self.group)
        return fence if fence.holder is not None and fence.holder.until > time.time() else None

    async def revoke(self, token: int) -> bool:
        """Take the lock from the host that holds it under *token*; False if none does.

        A holder that lives kills what it runs and lets go; that of a dead one is opened for it.
        """
        shared = self._shared()
        holder = await fencing.revoke(shared.state, self.group, token, asker=self._cluster.host)
        if holder is None:
            return False
        await trio.sleep(REVOKE_S)
        await shared.locks.unlock(holder.resource, holder.owner)
        log.warning("lease_revoked", group=self.group, host=holder.host, token=token)
        return True

    async def _watch(self, lease: Lease) -> None:
        """Let go of a lease that was revoked; most are given back before the first look."""
        while True:
            await trio.sleep(WATCH_S)
            if not self.holds(lease):
                return
            try:
                fence = await fencing.read_fence(self._shared().state, self.group)
            except SidecarError as error:
                self._fail(error)
                continue
            if lease.token in fence.revoked and self.holds(lease):
                log.warning("lease_taken_away", group=self.group, token=lease.token)
                self.on_revoked(lease)
                self._release(lease, pause=True)
                return

    # -- health ------------------------------------------------------------------------------

    def _fail(self, error: SidecarError) -> None:
        if not self.error:
            log.warning("group_lock_unavailable", group=self.group, error=str(error))
        self.error = str(error)

    def _shared(self) -> Shared:
        if self._cluster.shared is None:
            raise SidecarError(
                "the embedded backend holds no lock across hosts: set group.scope to 'auto', or"
                " serve with the Dapr backend",
                code="FAILED_PRECONDITION",
            )
        return self._cluster.shared

    def _heal(self) -> None:
        if self.error:
            log.info("group_lock_available", group=self.group)
        self.error = ""
