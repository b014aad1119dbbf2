"""Engines: what code can be run here."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from workmanager.api.paging import cut_page
from workmanager.api.problems import HttpProblemError
from workmanager.api.rest.answers import answer
from workmanager.api.rest.params import PageQuery, ServiceCalls
from workmanager.api.rest.routing import Route
from workmanager.errors import Reason, WorkManagerError
from workmanager.model.resources import Engine, Page

router = APIRouter(route_class=Route, prefix="/v1/engines", tags=["engines"])


@router.get("", response_model=Page[Engine])
async def list_engines(service: ServiceCalls, paging: PageQuery) -> Response:
    """List the engines and whether they can be used here."""
    return answer(cut_page(await service.list_engines(), paging))


@router.get("/{engine:media_type}", response_model=Engine)
async def get_engine(
    service: ServiceCalls,
    engine: Annotated[str, Path(description="Its media type, or an alias.", max_length=256)],
) -> Response:
    """Get the engine of a media type."""
    try:
        return answer(await service.get_engine(engine))
    except WorkManagerError as exc:
        if exc.reason is Reason.ENGINE_NOT_FOUND:  # here it is the thing asked for, not an argument
            raise HttpProblemError(str(exc), reason=exc.reason, status=404) from exc
        raise
