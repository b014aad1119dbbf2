"""Groups: workers that exclude each other, and who holds their lock."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from workmanager.api.paging import cut_page
from workmanager.api.requests import Release
from workmanager.api.rest import bodies
from workmanager.api.rest.answers import answer
from workmanager.api.rest.openapi import refuses
from workmanager.api.rest.params import PageQuery, ServiceCalls
from workmanager.api.rest.routing import Route
from workmanager.model.resources import Group, Page

router = APIRouter(route_class=Route, prefix="/v1/groups", tags=["groups"])

GroupRef = Annotated[str, Path(description="The group's name.", max_length=128)]


@router.get("", response_model=Page[Group])
async def list_groups(service: ServiceCalls, paging: PageQuery) -> Response:
    """List the groups that workers name."""
    return answer(cut_page(await service.list_groups(), paging))


@router.get("/{group:name}", response_model=Group)
async def get_group(service: ServiceCalls, group: GroupRef) -> Response:
    """Get one group with its members and holders."""
    return answer(await service.get_group(group))


@router.post(
    "/{group:name}:release",
    response_model=Group,
    openapi_extra=bodies.json_body(Release, required=True),
    responses=refuses(409),
)
async def release_group(request: Request, service: ServiceCalls, group: GroupRef) -> Response:
    """Take a group's lock from the holder that has the token shown."""
    body = await bodies.parse_model(request, Release)
    return answer(await service.release_group(group, body.token))
