"""What routes take: the service, paging, flags."""

from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Path, Query
from pydantic import BeforeValidator, WithJsonSchema
from starlette.requests import HTTPConnection

from workmanager.api.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Paging
from workmanager.api.protocol import Service

if TYPE_CHECKING:
    from workmanager.api.access import Access

MAX_TEXT_CHARS = 2048

_FLAGS = {"true": True, "false": False, "1": True, "0": False, "": True}  # ?verbose


def service_of(connection: HTTPConnection) -> Service:
    """Return the service as the caller of this request may use it."""
    service = cast("Service", connection.app.state.service)
    access: Access | None = connection.app.state.access
    if access is None:
        return service
    return access.service_for(str(connection.scope["state"]["principal"]))


async def _service(connection: HTTPConnection) -> Service:
    """`service_of` without the thread that FastAPI gives to every function that is not async."""
    return service_of(connection)


async def _paging(
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
