"""What of a result a caller may see: lists and streams are cut to the workers they may READ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import trio

    from workmanager.api.rules import Calling
    from workmanager.model.resources import Group, Health, Page

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


def cut_tail(calling: Calling, tail: Any) -> _Cut:  # noqa: ANN401 - a LogTail
    """Leave out the lines of workers that may not be seen (or not any more)."""
    return _Cut(tail, lambda line: calling.sees(line.worker))


def cut_watch(calling: Calling, watch: Any) -> _Cut:  # noqa: ANN401 - a Watch
    """Leave out the changes of workers that may not be seen; bookmarks have no worker."""
    return _Cut(watch, lambda change: change.resource is None or calling.sees(change.worker))


class _Cut:
    """A stream of handfuls with some things left out."""

    def __init__(self, stream: Any, is_seen: Callable[[Any], bool]) -> None:  # noqa: ANN401
        self._stream = stream
        self._is_seen = is_seen

    @property
    def dropped(self) -> trio.Event:
        """Set once the stream was cut off for reading too slowly."""
        dropped: trio.Event = self._stream.dropped
        return dropped

    async def take(self) -> Sequence[Any]:
        """Wait for the next things that may be seen."""
        while True:
            found = [item for item in await self._stream.take() if self._is_seen(item)]
            if found:
                return found
