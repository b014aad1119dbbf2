"""What of a result a caller may see: lists and streams are cut to the workers they may READ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.telemetry.tails import Handful

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import trio

    from workmanager.api.protocol import LogTail, Watch
    from workmanager.api.rules import Calling
    from workmanager.model.resources import Group, Health, Page
    from workmanager.telemetry.changes import Change

WORKER_CHECK = "worker/"  # a part of the service's health that is about a worker


def cut_page(member: str) -> Callable[[Calling, Page[Any]], Page[Any]]:
    """Leave out of a page the items whose *member* names a worker that may not be seen."""

    def show(calling: Calling, page: Page[Any]) -> Page[Any]:
        kept = [item for item in page.items if calling.sees(getattr(item, member))]
        return page.model_copy(update={"items": kept})

    return show


def cut_items(member: str) -> Callable[[Calling, list[Any]], list[Any]]:
    """Do so for a plain list."""

    def show(calling: Calling, items: list[Any]) -> list[Any]:
        return [item for item in items if calling.sees(getattr(item, member))]

    return show


def cut_groups(calling: Calling, page: Page[Group]) -> Page[Group]:
    """Leave out the groups without a member that may be seen."""
    kept = [
        group
        for group in page.items
        if any(calling.sees(member.worker) for member in group.members)
    ]
    return page.model_copy(update={"items": kept})


def cut_health(calling: Calling, health: Health) -> Health:
    """Leave out the parts of the service's health that are about workers not to be seen."""
    kept = [
        check
        for check in health.checks
        if not check["name"].startswith(WORKER_CHECK)
        or calling.sees(check["name"].removeprefix(WORKER_CHECK))
    ]
    return health.model_copy(update={"checks": kept})


class CutTail:
    """Lines without those of workers that may not be seen (or not any more)."""

    def __init__(self, calling: Calling, tail: LogTail) -> None:
        self._calling = calling
        self._tail = tail

    async def take(self) -> Sequence[Handful]:
        """Wait for the next lines that may be seen."""
        while True:
            handfuls = [
                Handful(line for line in handful if self._calling.sees(line.worker))
                for handful in await self._tail.take()
            ]
            if any(handfuls):
                return handfuls


class CutWatch:
    """Changes without those of workers that may not be seen; bookmarks have no worker."""

    def __init__(self, calling: Calling, watch: Watch) -> None:
        self._calling = calling
        self._watch = watch

    @property
    def dropped(self) -> trio.Event:
        """Set once the stream was cut off for reading too slowly."""
        return self._watch.dropped

    async def take(self) -> Sequence[Change]:
        """Wait for the next changes that may be seen."""
        while True:
            changes = [
                change
                for change in await self._watch.take()
                if change.resource is None or self._calling.sees(change.worker)
            ]
            if changes:
                return changes
