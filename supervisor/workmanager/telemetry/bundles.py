"""What is told together, to everybody who asked for the same: weighed as it grows, encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BUNDLE_BYTES = 256 * 1024  # in one bundle; far below gRPC's 4 MiB for a message

T = TypeVar("T")


class Bundle(list[T]):
    """Things that are told together; a subclass says what each weighs.

    Attributes:
        size_bytes: What they weigh.
        encoded: All of them in the form of one door, made by whoever needs it first.
        events: Likewise in that of another.
    """

    __slots__ = ("encoded", "events", "size_bytes")

    def __init__(self, items: Iterable[T] = ()) -> None:
        super().__init__()
        self.size_bytes = 0
        self.encoded: bytes | None = None
        self.events: bytes | None = None
        for item in items:
            self.add(item)

    @staticmethod
    def weigh(item: T) -> int:
        """Return what *item* weighs in a message, in bytes, about."""
        raise NotImplementedError

    @property
    def is_full(self) -> bool:
        """Whether the next thing belongs to the next bundle."""
        return self.size_bytes >= BUNDLE_BYTES

    def add(self, item: T) -> None:
        """Add a thing at the end, before anybody is told."""
        self.append(item)
        self.size_bytes += self.weigh(item)

    @classmethod
    def split(cls, items: Iterable[T]) -> Iterator[Self]:
        """Put *items* into bundles of at most some `BUNDLE_BYTES`."""
        bundle = cls()
        for item in items:
            bundle.add(item)
            if bundle.is_full:
                yield bundle
                bundle = cls()
        if bundle:
            yield bundle
