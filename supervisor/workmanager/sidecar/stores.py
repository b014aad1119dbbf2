"""The sidecar's state and locks as the registry and the groups use them.

Every write is FIRST_WRITE: on Redis the guard holds only if every write before used it too. A store
may answer that something exists already with an error of its own (Redis: INTERNAL); whether it was
that is found out by looking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dapr.proto.common.v1 import common_pb2
from dapr.proto.runtime.v1 import lock_pb2, state_pb2
from google.protobuf import empty_pb2

from workmanager.errors import SidecarError
from workmanager.sidecar.state import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.sidecar.connection import Sidecar

CALL_S = 5.0
BULK_KEYS = 50  # per call: together they stay below the 4 MiB that a message may have
PARALLEL = 10  # of them at a time, inside the sidecar

_STRONG = common_pb2.StateOptions.CONSISTENCY_STRONG
_FIRST_WRITE = common_pb2.StateOptions(
    concurrency=common_pb2.StateOptions.CONCURRENCY_FIRST_WRITE, consistency=_STRONG
)


class SidecarState:
    """One of the sidecar's state stores; a `state.StateStore`.

    Args:
        is_own: Keys begin with the app-id, for stores whose components leave it out (`keyPrefix`).
    """

    def __init__(self, sidecar: Sidecar, store: str, *, is_own: bool = False) -> None:
        self._sidecar = sidecar
        self._store = store
        self._is_own = is_own

    def _key(self, key: str) -> str:
        if not self._is_own:
            return key
        app_id = self._sidecar.metadata.id
        if not app_id:
            raise SidecarError("it has not told its app-id yet", code="UNAVAILABLE")
        return f"{app_id}.{key}"

    async def get(self, key: str) -> Entry:
        """Return the entry of *key*."""
        asked = state_pb2.GetStateRequest(
            store_name=self._store, key=self._key(key), consistency=_STRONG
        )
        found = await self._sidecar.call(
            "GetState", asked, state_pb2.GetStateResponse, timeout_s=CALL_S
        )
        return Entry(found.data, found.etag)

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of those of *keys* that there are."""
        entries: dict[str, Entry] = {}
        names = {self._key(key): key for key in keys}
        for start in range(0, len(names), BULK_KEYS):
            part = list(names)[start : start + BULK_KEYS]
            asked = state_pb2.GetBulkStateRequest(
                store_name=self._store, keys=part, parallelism=PARALLEL
            )
            found = await self._sidecar.call("GetBulkState", asked, state_pb2.GetBulkStateResponse)
            for item in found.items:
                if item.error:
                    raise SidecarError(f"GetBulkState: {item.key}: {item.error}", code="INTERNAL")
                if item.data:
                    entries[names[item.key]] = Entry(item.data, item.etag)
        return entries

    async def put(self, key: str, value: bytes, *, etag: str, ttl_s: int = 0) -> bool:
        """Write *key* if its etag is still *etag* (empty: if there is none); False if it is not."""
        item = common_pb2.StateItem(key=self._key(key), value=value, options=_FIRST_WRITE)
        if etag:
            item.etag.value = etag
        if ttl_s:
            item.metadata["ttlInSeconds"] = str(ttl_s)
        asked = state_pb2.SaveStateRequest(store_name=self._store, states=[item])
        try:
            await self._sidecar.call("SaveState", asked, empty_pb2.Empty, timeout_s=CALL_S)
        except SidecarError as error:
            if error.code == "ABORTED":
                return False
            if error.code == "INTERNAL" and not etag and (await self.get(key)).etag:
                return False
            raise
        return True

    async def delete(self, key: str) -> None:
        """Delete *key*, whatever it is."""
        asked = state_pb2.DeleteStateRequest(store_name=self._store, key=self._key(key))
        await self._sidecar.call("DeleteState", asked, empty_pb2.Empty, timeout_s=CALL_S)


class SidecarLocks:
    """One of the sidecar's lock stores; a `groups.cluster.LockStore`."""

    def __init__(self, sidecar: Sidecar, store: str) -> None:
        self._sidecar = sidecar
        self._store = store

    async def try_lock(self, resource: str, owner: str, ttl_s: int) -> bool:
        """Take the lock if nobody has it; it goes by itself after *ttl_s*."""
        asked = lock_pb2.TryLockRequest(
            store_name=self._store, resource_id=resource, lock_owner=owner, expiry_in_seconds=ttl_s
        )
        answer = await self._sidecar.call(
            "TryLockAlpha1", asked, lock_pb2.TryLockResponse, timeout_s=CALL_S
        )
        return answer.success

    async def unlock(self, resource: str, owner: str) -> bool:
        """Give the lock back; False if it was not *owner*'s (any more)."""
        asked = lock_pb2.UnlockRequest(
            store_name=self._store, resource_id=resource, lock_owner=owner
        )
        answer = await self._sidecar.call(
            "UnlockAlpha1", asked, lock_pb2.UnlockResponse, timeout_s=CALL_S
        )
        if answer.status == lock_pb2.UnlockResponse.INTERNAL_ERROR:
            raise SidecarError(f"UnlockAlpha1: {resource}: internal error", code="INTERNAL")
        return answer.status == lock_pb2.UnlockResponse.SUCCESS
