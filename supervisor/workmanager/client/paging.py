"""Walks through the pages of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_PAGE_SIZE = 1000


def each(
    fetch: Callable[[int, str], dict[str, Any]],
    *,
    limit: int = 0,
    on_cut: Callable[[], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the items of all pages, at most *limit* of them (0: all).

    *fetch* gives the page for a page size and a page token; *on_cut* is called behind the last item
    where there are more than *limit*.
    """
    token = ""
    left = limit or MAX_PAGE_SIZE
    while left > 0:
        page = fetch(min(left, MAX_PAGE_SIZE), token)
        items = page["items"]
        yield from items[:left]
        token = page.get("nextPageToken") or ""
        if not token:
            return
        if limit:
            left -= len(items)
    if on_cut is not None:
        on_cut()
