"""What is needed of a shared state store: single keys, compared by their etag when written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Entry:
    """The value of a key; both are empty where there is none."""

    value: bytes = b""
    etag: str = ""


class StateStore(Protocol):
    """A state store that all hosts see; every call may raise SidecarError."""

    async def get(self, key: str) -> Entry:
        """Return the entry of *key*."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of those of *keys* that there are."""

    async def put(self, key: str, value: bytes, *, etag: str, ttl_s: int = 0) -> bool:
        """Write *key* if its etag is still *etag* (empty: if there is none); False if it is not.

        A key with *ttl_s* goes by itself.
        """

    async def delete(self, key: str) -> None:
        """Delete *key*, whatever it is."""
