"""Many events in several calls."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from workmanager.model.resources import PublishResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def batches(events: Iterable[Mapping[str, Any]], size: int) -> Iterator[list[Mapping[str, Any]]]:
    """Cut *events* into lists of at most *size*."""
    rest = iter(events)
    while some := list(islice(rest, size)):
        yield some


class Sums:
    """What became of all batches together."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._counts = (0, 0, 0)

    def add(self, result: PublishResult) -> None:
        """Count one batch."""
        accepted, duplicates, deliveries = self._counts
        self._counts = (
            accepted + result.accepted,
            duplicates + result.duplicates,
            deliveries + result.deliveries,
        )

    def result(self) -> PublishResult:
        """Return the sums."""
        accepted, duplicates, deliveries = self._counts
        return PublishResult(
            topic=self._topic, accepted=accepted, duplicates=duplicates, deliveries=deliveries
        )
