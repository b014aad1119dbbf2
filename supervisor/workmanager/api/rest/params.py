"""What routes take: the service, paging, flags; and small pages cut from whole lists."""

import base64
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Path, Query, Request
from pydantic import BeforeValidator, WithJsonSchema

from workmanager.api.protocol import Service
from workmanager.errors import InvalidArgumentError, Reason
from workmanager.model.resources import Page

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
MAX_TEXT_CHARS = 2048

_FLAGS = {"true": True, "false": False, "1": True, "0": False, "": True}  # ?verbose


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list is asked for."""

    size: int
    token: str


def _service(request: Request) -> Service:
    return cast("Service", request.app.state.service)


def _paging(
    page_size: Annotated[
        int,
        Query(alias="pageSize", ge=0, le=MAX_PAGE_SIZE, description="0 means the default."),
    ] = DEFAULT_PAGE_SIZE,
    page_token: Annotated[
        str,
        Query(
            alias="pageToken",
            max_length=MAX_TEXT_CHARS,
            description="`nextPageToken` of the page before.",
        ),
    ] = "",
) -> Paging:
    return Paging(page_size or DEFAULT_PAGE_SIZE, page_token)


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value not in _FLAGS:
        raise ValueError("must be true, false, 1 or 0; a bare name means true")
    return _FLAGS[str(value)]


ServiceCalls = Annotated[Service, Depends(_service)]
PageQuery = Annotated[Paging, Depends(_paging)]
Flag = Annotated[
    bool, BeforeValidator(_flag), WithJsonSchema({"enum": [True, False, "1", "0", ""]})
]
Text = Annotated[str, Query(max_length=MAX_TEXT_CHARS)]
WorkerRef = Annotated[str, Path(description="The worker's name or uid.", max_length=128)]
VersionId = Annotated[str, Path(description="The version's id.", max_length=256)]


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
