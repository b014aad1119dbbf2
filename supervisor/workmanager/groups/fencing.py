"""The fencing tokens of a group, in the state store: a counter that every lease raises by a block.

A lease hands out the tokens of its block, one for each turn: they rise within a host and between
hosts.

One record per group, `wm.fence.<group>`, never deleted and only ever written by its etag: on Redis
a write with an etag to a missing key succeeds, and two writers could count the same. Beside the
token the record tells who took the group's lock last, and which holders an operator has told to let
go: see `Leases.revoke`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workmanager.errors import SidecarError

if TYPE_CHECKING:
    from workmanager.sidecar.state import StateStore

BLOCK = 10_000  # tokens of a lease
REVOKED_KEPT = 32
TRIES = 20  # each lost to another host that took another key or slot of the group just then


@dataclass(frozen=True, slots=True)
class Holder:
    """Who took a lock of the group: *until* (unix seconds) is when it goes by itself."""

    resource: str
    owner: str
    host: str
    key: str
    until: float


@dataclass(frozen=True, slots=True)
class Fence:
    """The record of a group.

    Attributes:
        token: The highest one of the newest lease.
        holder: Who took a lock of the group last; None if that was taken from it.
        revoked: First tokens of the leases whose holders must let go, oldest first.
    """

    token: int = 0
    holder: Holder | None = None
    revoked: tuple[int, ...] = ()

    @property
    def first(self) -> int:
        """The first token of the newest lease."""
        return self.token - BLOCK + 1


def encode(fence: Fence) -> bytes:
    """Return the record as it stands in the state store."""
    holder = fence.holder
    facts = {name: getattr(holder, name) for name in Holder.__slots__} if holder else None
    record = {"token": fence.token, "holder": facts, "revoked": fence.revoked[-REVOKED_KEPT:]}
    return json.dumps(record).encode()


def decode(value: bytes) -> Fence:
    """Read a record; that of nothing is the first one.

    Raises:
        SidecarError: Something else stands there.
    """
    if not value:
        return Fence()
    try:
        facts = json.loads(value)
        holder = Holder(**facts["holder"]) if facts["holder"] is not None else None
        return Fence(int(facts["token"]), holder, tuple(map(int, facts["revoked"])))
    except (ValueError, TypeError, KeyError) as error:
        raise SidecarError(
            f"the fencing token cannot be read: {error}", code="DATA_LOSS"
        ) from error


async def read_fence(state: StateStore, group: str) -> Fence:
    """Return the group's record."""
    return decode((await state.get(_key(group))).value)


async def raise_token(state: StateStore, group: str, holder: Holder, *, floor: int) -> int:
    """Return the first token of a block that is *holder*'s, above *floor* and all before it.

    Raises:
        SidecarError: The state store does not answer, or others always come first.
    """
    for _ in range(TRIES):
        entry = await state.get(_key(group))
        known = decode(entry.value)
        fence = Fence(max(known.token, floor) + BLOCK, holder, known.revoked)
        if await state.put(_key(group), encode(fence), etag=entry.etag):
            return fence.first
    raise SidecarError(f"the fencing token of {group} is always taken by others", code="ABORTED")


async def revoke(state: StateStore, group: str, token: int, *, asker: str) -> Holder | None:
    """Tell the holder of *token* to let go; None if no host but *asker* has it in its lease."""
    for _ in range(TRIES):
        entry = await state.get(_key(group))
        fence = decode(entry.value)
        if not fence.first <= token <= fence.token:
            return None
        if fence.holder is None or fence.holder.host == asker:
            return None
        taken = Fence(fence.token, None, (*fence.revoked, fence.first))
        if await state.put(_key(group), encode(taken), etag=entry.etag):
            return fence.holder
    return None


def expiry(ttl_s: float) -> float:
    """Return when a lock taken now goes by itself, in unix seconds."""
    return round(time.time() + ttl_s, 3)


def _key(group: str) -> str:
    return f"wm.fence.{group}"
