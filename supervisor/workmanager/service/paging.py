"""Page tokens and the small filter language of lists.

A token is opaque to callers: base64 of a JSON position and a digest of the query it belongs to, so
that a token used with other filters is refused instead of giving nonsense.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, TypeVar

from workmanager.errors import Fault, InvalidArgumentError, Reason
from workmanager.model.resources import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
MAX_PAGE = 1000
_TERM = re.compile(r"\s*([\w.\-/]+)\s*(=|!=)\s*(\"[^\"]*\"|[^\s\"]+)\s*")


def page_size_of(size: int) -> int:
    """Check a page size.

    Raises:
        InvalidArgumentError: It is not between 1 and 1000.
    """
    if not 1 <= size <= MAX_PAGE:
        detail = f"must be between 1 and {MAX_PAGE}, not {size}"
        raise InvalidArgumentError(f"pageSize {detail}", faults=[Fault("pageSize", detail)])
    return size


def make_token(position: object, *query: object) -> str:
    """Make the token of the page that begins at *position*."""
    text = json.dumps([_digest(query), position], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(token: str, *query: object) -> Any:  # noqa: ANN401 - a position of any JSON shape
    """Return the position in *token*; None for an empty token.

    Raises:
        InvalidArgumentError: It is no token of this query (INVALID_PAGE_TOKEN).
    """
    if not token:
        return None
    try:
        digest, position = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, TypeError, binascii.Error):
        digest = position = None
    if digest != _digest(query):
        detail = "is no token of this list with these filters; begin without one"
        raise InvalidArgumentError(
            f"pageToken {detail}",
            reason=Reason.INVALID_PAGE_TOKEN,
            faults=[Fault("pageToken", detail)],
        )
    return position


def paged(
    items: Sequence[T], key: Callable[[T], str], *, page_size: int, page_token: str, query: object
) -> Page[T]:
    """Return a page of *items*, which are sorted by *key*, after the token's position."""
    after = read_token(page_token, query)
    if after is not None and not isinstance(after, str):
        after = str(after)
    rest = [item for item in items if after is None or key(item) > after]
    size = page_size_of(page_size)
    more = len(rest) > size
    token = make_token(key(rest[size - 1]), query) if more else ""
    return Page(items=rest[:size], next_page_token=token)


def parse_filter(text: str, allowed: Sequence[str]) -> list[tuple[str, bool, str]]:
    """Read `a=b AND labels.x!=y` into `(field, is equal, value)` terms.

    Raises:
        InvalidArgumentError: It is not of this form, or names an unknown field.
    """
    if not text.strip():
        return []
    terms = []
    for part in re.split(r"\s+AND\s+", text.strip()):
        match = _TERM.fullmatch(part)
        if match is None:
            detail = f"{part!r} is not of the form field=value; join terms with AND"
            raise InvalidArgumentError(f"filter: {detail}", faults=[Fault("filter", detail)])
        field = match[1]
        if field not in allowed and not field.startswith("labels."):
            detail = f"{field!r} cannot be filtered by; use {', '.join(allowed)} or labels.NAME"
            raise InvalidArgumentError(f"filter: {detail}", faults=[Fault("filter", detail)])
        terms.append((field, match[2] == "=", match[3].strip('"')))
    return terms


def _digest(query: object) -> str:
    return hashlib.sha256(repr(query).encode()).hexdigest()[:12]
