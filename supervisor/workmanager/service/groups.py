"""The calls about groups: who is in them, who holds their lock, and taking it from a holder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import trio

from workmanager.dispatch.handout import pump
from workmanager.errors import ConflictError, NotFoundError, Reason, SidecarError
from workmanager.model.resources import Group, GroupMember, Page
from workmanager.service.base import Calls

if TYPE_CHECKING:
    from workmanager.groups.local import HostLock, Turn

LOOK_S = 2.0  # how long a list waits for the state store to say who holds a group elsewhere
RELEASED = "its group was released by an operator"


class GroupCalls(Calls):
    """Groups."""

    async def list_groups(self) -> Page[Group]:
        """Return all groups."""
        locks = sorted(self._sup.core.locks.values(), key=lambda lock: lock.name)
        found: dict[str, Group] = {}

        async def look(lock: HostLock) -> None:
            found[lock.name] = await self._show(lock)

        async with trio.open_nursery() as nursery:
            for lock in locks:
                nursery.start_soon(look, lock)
        return Page(items=[found[lock.name] for lock in locks])

    async def get_group(self, name: str) -> Group:
        """Return one group.

        Raises:
            NotFoundError: GROUP_NOT_FOUND.
        """
        return await self._show(self._lock(name))

    async def release_group(self, name: str, token: int) -> Group:
        """End the turn that holds *token*, by ending its executor: its attempt goes back.

        Where another host holds it, that host is asked to; if it does not, being dead, its lock is
        taken from it.

        Raises:
            ConflictError: No turn has this token any more (LEASE_LOST).
            SidecarError: Another host may hold it, and the sidecar does not answer.
        """
        lock = self._lock(name)
        turn = next((t for t in lock.all_turns() if t.token == token), None)
        if turn is not None:
            self._end(lock, turn)
        elif lock.leases is None or not await lock.leases.revoke(token):
            raise ConflictError(
                f"group {name!r} is not held under token {token}", reason=Reason.LEASE_LOST
            )
        return await self._show(lock)

    def _end(self, lock: HostLock, turn: Turn) -> None:
        if turn.executor.hand:
            turn.executor.end(RELEASED)
            return
        for waiting in lock.leave(turn.executor):
            pump(self._sup.core, waiting)

    def _lock(self, name: str) -> HostLock:
        lock = self._sup.core.locks.get(name)
        if lock is None or not lock.members:
            raise NotFoundError(f"no worker is in a group {name!r}", reason=Reason.GROUP_NOT_FOUND)
        return lock

    async def _show(self, lock: HostLock) -> Group:
        holders = [self._holder(turn) for turn in lock.all_turns()]
        token = lock.token
        if lock.leases is not None:
            token = self._sup.core.fences.get(lock.name, 0)
            elsewhere = await _holder_elsewhere(lock) if not holders else None
            if elsewhere is not None:
                holders, token = [elsewhere], int(elsewhere["token"])
        return _group(lock, holders, token)

    def _holder(self, turn: Turn) -> dict[str, Any]:
        return {
            "worker": turn.worker.name,
            "executor": turn.executor.id,
            "token": turn.token,
            "key": turn.key or "",
            "host": self._sup.host,
        }


async def _holder_elsewhere(lock: HostLock) -> dict[str, Any] | None:
    """Return who took the group's lock last, on another host; None where that is over."""
    leases = lock.leases
    if leases is None:
        return None
    with trio.move_on_after(LOOK_S):
        try:
            fence = await leases.look()
        except SidecarError:
            return None  # explain and health tell of it
        if fence is None or fence.holder is None:
            return None
        until = datetime.fromtimestamp(fence.holder.until, UTC)
        return {
            "worker": "",
            "executor": "",
            "token": fence.first,
            "key": fence.holder.key,
            "host": fence.holder.host,
            "until": until.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
    return None


def _group(lock: HostLock, holders: list[dict[str, Any]], token: int) -> Group:
    spec = lock.members[0].spec.group
    assert spec is not None  # noqa: S101 - members of a group have one
    members = [
        GroupMember(
            worker=member.name,
            waiting=member.inbox.ready() + lock.parked(member),
            holding=sum(holder["worker"] == member.name for holder in holders),
        )
        for member in lock.members
    ]
    return Group(
        name=lock.name,
        limit=lock.limit,
        key=spec.key,
        delivery=spec.delivery,
        scope=spec.scope,
        members=members,
        holders=holders,
        fencing_token=token,
    )
