"""State and locks of a Dapr sidecar, with what sets Redis apart from the in-memory store."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from enum import Enum, IntEnum

FOR_EVER = float("inf")


class StateFault(Enum):
    """Why a write was refused."""

    MISMATCH = "etag mismatch"
    INVALID = "invalid etag value"
    INTERNAL = "failed to set key"


class StateError(Exception):
    """A write was refused."""

    def __init__(self, fault: StateFault, key: str) -> None:
        self.fault = fault
        super().__init__(f"{fault.value}: {key}")


@dataclass(slots=True)
class Record:
    """A value with its version."""

    data: bytes
    etag: str
    first_write: bool = False
    expires_at: float = FOR_EVER


@dataclass(frozen=True, slots=True)
class Write:
    """One value to be saved."""

    key: str
    data: bytes
    etag: str = ""
    first_write: bool = False
    last_write: bool = False
    ttl_s: int | None = None


@dataclass(slots=True)
class RedisState:
    """state.redis: version counters, and a first-write mark that stays on the key."""

    records: dict[str, Record] = field(default_factory=dict)

    def get(self, key: str) -> Record | None:
        return _live(self.records, key)

    def set(self, write: Write) -> None:
        expected = self._expected(write)
        record = self.get(write.key)
        if record and record.etag != expected and (record.first_write or expected != "0"):
            raise StateError(StateFault.MISMATCH if write.etag else StateFault.INTERNAL, write.key)
        self.records[write.key] = Record(
            data=write.data,
            etag=str(int(record.etag) + 1 if record else 1),
            first_write=write.first_write or bool(record and record.first_write),
            expires_at=_expiry(write.ttl_s, record),
        )

    def delete(self, key: str, etag: str, *, first_write: bool) -> None:
        del first_write  # Redis does not look at it
        record = self.get(key)
        if record and etag and etag not in ("0", record.etag):
            raise StateError(StateFault.MISMATCH, key)
        self.records.pop(key, None)

    def _expected(self, write: Write) -> str:
        if write.last_write or not write.etag:
            return "0"
        try:
            return str(int(write.etag))
        except ValueError:
            raise StateError(StateFault.INVALID, write.key) from None


@dataclass(slots=True)
class MemoryState:
    """state.in-memory: random etags; a missing key fails an etag."""

    records: dict[str, Record] = field(default_factory=dict)

    def get(self, key: str) -> Record | None:
        return _live(self.records, key)

    def set(self, write: Write) -> None:
        self._check(write.key, write.etag, first_write=write.first_write)
        ttl_s = write.ttl_s if write.ttl_s and write.ttl_s > 0 else None
        self.records[write.key] = Record(write.data, str(uuid.uuid4()), False, _expiry(ttl_s, None))

    def delete(self, key: str, etag: str, *, first_write: bool) -> None:
        self._check(key, etag, first_write=first_write)
        self.records.pop(key, None)

    def _check(self, key: str, etag: str, *, first_write: bool) -> None:
        record = self.get(key)
        if etag:
            if record is None or record.etag != etag:
                raise StateError(StateFault.MISMATCH, key)
        elif first_write and record is not None:
            raise StateError(StateFault.MISMATCH, key)


class Unlocked(IntEnum):
    """UnlockResponse.Status."""

    SUCCESS = 0
    LOCK_DOES_NOT_EXIST = 1
    LOCK_BELONGS_TO_OTHERS = 2
    INTERNAL_ERROR = 3


@dataclass(slots=True)
class Locks:
    """lock.redis: SET NX EX and a delete that compares the owner."""

    held: dict[str, tuple[str, float]] = field(default_factory=dict)

    def acquire(self, resource: str, owner: str, expiry_s: int) -> bool:
        if self.owner(resource) is not None:
            return False  # not even its owner gets it again, nor is it prolonged
        self.held[resource] = (owner, time.monotonic() + expiry_s)
        return True

    def release(self, resource: str, owner: str) -> Unlocked:
        holder = self.owner(resource)
        if holder is None:
            return Unlocked.LOCK_DOES_NOT_EXIST
        if holder != owner:
            return Unlocked.LOCK_BELONGS_TO_OTHERS
        del self.held[resource]
        return Unlocked.SUCCESS

    def owner(self, resource: str) -> str | None:
        holder, expires_at = self.held.get(resource, ("", 0.0))
        if time.monotonic() < expires_at:
            return holder
        self.held.pop(resource, None)
        return None


def _live(records: dict[str, Record], key: str) -> Record | None:
    record = records.get(key)
    if record and time.monotonic() >= record.expires_at:
        del records[key]
        return None
    return record


def _expiry(ttl_s: int | None, record: Record | None) -> float:
    if ttl_s is None:
        return record.expires_at if record else FOR_EVER
    return time.monotonic() + ttl_s if ttl_s > 0 else FOR_EVER
