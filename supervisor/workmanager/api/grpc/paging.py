"""Which page a request asks for; the fields are the same in every list."""

from __future__ import annotations

from typing import Protocol

from workmanager.api.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Paging
from workmanager.errors import Fault, InvalidArgumentError


class ListRequest(Protocol):
    """A request for a page."""

    page_size: int
    page_token: str


def page_of(request: ListRequest) -> Paging:
    """Return the page that *request* asks for.

    Raises:
        InvalidArgumentError: It asks for more than a page may have.
    """
    if not 0 <= request.page_size <= MAX_PAGE_SIZE:
        detail = f"must be between 0 and {MAX_PAGE_SIZE}"
        raise InvalidArgumentError(f"pageSize {detail}", faults=[Fault("pageSize", detail)])
    return Paging(request.page_size or DEFAULT_PAGE_SIZE, request.page_token)
