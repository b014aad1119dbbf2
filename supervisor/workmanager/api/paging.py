"""Pages: which one is asked for, and how one is cut from a list that the service gives whole."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from workmanager.errors import InvalidArgumentError, Reason

if TYPE_CHECKING:
    from workmanager.model.resources import Page

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list is asked for."""

    size: int
    token: str


def cut_page(page: Page[T], paging: Paging) -> Page[T]:
    """Cut one page out of a list that the service returns whole.

    Raises:
        InvalidArgumentError: The token is none of ours (INVALID_PAGE_TOKEN).
    """
    if page.next_page_token:
        return page
    start = _offset_of(paging.token)
    end = start + paging.size
    token = _token_of(end) if end < len(page.items) else ""
    return page.model_copy(update={"items": page.items[start:end], "next_page_token": token})


def _token_of(offset: int) -> str:
    return base64.urlsafe_b64encode(b"o%d" % offset).decode().rstrip("=")


def _offset_of(token: str) -> int:
    if not token:
        return 0
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        text = b""
    if not text.startswith(b"o") or not text[1:].isdigit() or len(text) > 12:
        raise InvalidArgumentError(
            "pageToken is none that this list gave; start again without it",
            reason=Reason.INVALID_PAGE_TOKEN,
        )
    return int(text[1:])
