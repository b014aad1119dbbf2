"""What groups that reach across hosts need: locks and state that all hosts see, and a memory.

The leases themselves are in `leases`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from workmanager.errors import SidecarError
from workmanager.groups.lease import boot_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workmanager.config import Settings
    from workmanager.sidecar.connection import Sidecar
    from workmanager.sidecar.state import StateStore

RETRY_S = 1.0  # after an error of the lock or state store
KILLED_S = 1.0  # within which the kernel has ended what a process before this one ran
CALLS = 32  # calls at a time, of all groups

log = structlog.get_logger()


class LockStore(Protocol):
    """Locks that all hosts see; every call may raise SidecarError."""

    async def try_lock(self, resource: str, owner: str, ttl_s: int) -> bool:
        """Take the lock if nobody has it; it goes by itself after *ttl_s*."""

    async def unlock(self, resource: str, owner: str) -> bool:
        """Give the lock back; False if it was not *owner*'s (any more)."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all hosts see."""

    locks: LockStore
    state: StateStore


class Notes(Protocol):
    """What is kept in this host's store, for the next start."""

    def highest_token(self, group: str) -> int:
        """Return the highest token that is known of a group, from before it had a cluster, too."""

    def note_token(self, group: str, token: int) -> None:
        """Keep that a group's tokens have come up to *token*."""

    def note_held(self, owner: str, resource: str) -> None:
        """Keep under whose name a lock is held."""

    def note_freed(self, owner: str) -> None:
        """Forget such a name."""


@dataclass(slots=True)
class Cluster:
    """What the groups of this host use to exclude others.

    Attributes:
        shared: None where the backend knows one host: then `scope: auto` stays on it, and a group
            that must reach further waits and says why.
        host: Names this process among all that may hold a lock.
        nursery: Runs what is asked of the sidecar.
        notes: What this host keeps of it; set before the first group is made.
        calls: Bounds it.
        clock: What leases are judged by.
    """

    shared: Shared | None
    host: str
    nursery: trio.Nursery
    notes: Notes = field(init=False)
    calls: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(CALLS))
    clock: Callable[[], float] = boot_time


async def free_former(cluster: Cluster, held: Mapping[str, str]) -> None:
    """Open the locks that the process before this one held, by owner: all it ran is dead.

    Without this its groups would wait until they expire, on this host, too.
    """
    await trio.sleep(KILLED_S)
    for owner, resource in held.items():
        while cluster.shared is not None:
            try:
                if await cluster.shared.locks.unlock(resource, owner):
                    log.info("former_lease_freed", resource=resource)
                break
            except SidecarError:
                await trio.sleep(RETRY_S)
        cluster.notes.note_freed(owner)


def open_shared(sidecar: Sidecar, settings: Settings) -> Shared:
    """Return the lock and the state store that all hosts of an app-id see."""
    from workmanager.sidecar.stores import SidecarLocks, SidecarState

    return Shared(
        SidecarLocks(sidecar, settings.dapr_lock_store),
        SidecarState(sidecar, settings.dapr_state_store),
    )
