"""The arithmetic of a lease: a lock with an expiry, held for a turn. Pure: the clock is given.

```
asked_at             turn_ends_at                  safe_until          expiry at the lock store
   |--- attempts may start ---|--- they may end ---------|--- margin --------|
```

The lock store knows no renewal, so a turn is planned to its end before it begins. The expiry counts
from *before* the call that took the lock: the store's own count began later. Times are seconds of
CLOCK_BOOTTIME, which runs on while the machine sleeps (clock_getres(2)).
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass

MARGIN_S = 1.0  # to kill what still runs, and to write what has ended
DRIFT = 0.002  # how much faster the lock store's clock may run than ours


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """A lock of the cluster held by this host.

    Attributes:
        key: The group's key it is for; empty where the group has none.
        owner: Under whose name the lock is held; never used twice.
        token: Its first fencing token: higher than all of every lease before it.
        hold_s: How long new attempts may start under it.
    """

    resource: str
    key: str
    owner: str
    token: int
    asked_at: float
    ttl_s: int
    hold_s: float

    @property
    def turn_ends_at(self) -> float:
        """From when on no attempt is started under it."""
        return self.asked_at + self.hold_s

    @property
    def safe_until(self) -> float:
        """From when on nothing may run under it or be written: somebody else may hold it."""
        return self.asked_at + self.ttl_s - margin_s(self.ttl_s)

    def may_start(self, now: float, run_s: float) -> bool:
        """Tell whether an attempt that takes *run_s*, its killing included, may start at *now*."""
        return now < self.turn_ends_at and now + run_s <= self.safe_until

    def is_valid(self, now: float) -> bool:
        """Tell whether an outcome may still be written at *now*."""
        return now < self.safe_until


def margin_s(ttl_s: float) -> float:
    """Return what is kept free before the expiry of a lock that lives *ttl_s*."""
    return MARGIN_S + DRIFT * ttl_s


def ttl_for(hold_s: float, run_s: float) -> int:
    """Return how long a lock must live, in whole seconds, for a turn of *hold_s*.

    An attempt that starts at the turn's last instant and takes *run_s* still ends in time; one
    more margin is for the call itself.
    """
    needed = hold_s + run_s + 2 * MARGIN_S
    return math.ceil(needed / (1 - DRIFT))


def resource_of(group: str, key: str, slot: int) -> str:
    """Name the lock of a group, of one of its keys, of one of its slots where it has several."""
    name = f"wm.group.{group}"
    if key:
        name += f".key.{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    return f"{name}.{slot}" if slot else name


def boot_time() -> float:
    """Return seconds since the machine was started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
