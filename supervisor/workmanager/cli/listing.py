"""Lists: all pages, up to `--limit`, and a word where that was not all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.cli.output import emit_all, say
from workmanager.client.paging import each

if TYPE_CHECKING:
    from collections.abc import Callable

    from workmanager.cli.settings import Settings


def emit_list(
    settings: Settings, kind: str, fetch: Callable[[int, str], dict[str, Any]], *, limit: int = 0
) -> None:
    """Write the resources of *kind* that *fetch* gives for page sizes and page tokens."""

    def tell() -> None:
        say(f"these are the first {limit}; --limit 0 shows all")

    emit_all(settings, kind, each(fetch, limit=limit, on_cut=tell))
