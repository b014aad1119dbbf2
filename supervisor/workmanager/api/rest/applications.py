"""Applications, their access keys, and the audit: for administrators."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from workmanager.api.paging import cut_page
from workmanager.api.rest import bodies
from workmanager.api.rest.answers import answer
from workmanager.api.rest.openapi import refuses
from workmanager.api.rest.params import PageQuery, ServiceCalls
from workmanager.api.rest.routing import Route
from workmanager.model.access import (
    AccessKey,
    Application,
    ApplicationSpec,
    AuditEntry,
    IssuedKey,
    NewAccessKey,
    NewApplication,
)
from workmanager.model.resources import Page

router = APIRouter(route_class=Route, prefix="/v1", tags=["access"])

ApplicationName = Annotated[str, Path(description="The application's name.", max_length=128)]
KeyId = Annotated[str, Path(description="The key's id.", max_length=128)]


@router.get("/applications", response_model=Page[Application])
async def list_applications(service: ServiceCalls, paging: PageQuery) -> Response:
    """List the applications that may call."""
    return answer(cut_page(await service.list_applications(), paging))


@router.post(
    "/applications",
    status_code=201,
    response_model=Application,
    openapi_extra=bodies.json_body(NewApplication, required=True),
    responses=refuses(409),
)
async def create_application(request: Request, service: ServiceCalls) -> Response:
    """Make an application, which has no key yet."""
    body = await bodies.parse_model(request, NewApplication)
    return answer(await service.create_application(body), status=201)


@router.get("/applications/{application:name}", response_model=Application)
async def get_application(service: ServiceCalls, application: ApplicationName) -> Response:
    """Get one application."""
    return answer(await service.get_application(application))


@router.put(
    "/applications/{application:name}",
    response_model=Application,
    openapi_extra=bodies.json_body(ApplicationSpec, required=True),
)
async def update_application(
    request: Request, service: ServiceCalls, application: ApplicationName
) -> Response:
    """Replace what an application may do; its keys stay."""
    body = await bodies.parse_model(request, ApplicationSpec)
    return answer(await service.update_application(application, body))


@router.delete("/applications/{application:name}", status_code=204)
async def delete_application(service: ServiceCalls, application: ApplicationName) -> Response:
    """Forget an application; its keys let nobody in from now on."""
    await service.delete_application(application)
    return Response(status_code=204)


@router.get("/applications/{application:name}/accessKeys", response_model=Page[AccessKey])
async def list_access_keys(
    service: ServiceCalls, application: ApplicationName, paging: PageQuery
) -> Response:
    """List an application's keys, without their secrets."""
    return answer(cut_page(await service.list_access_keys(application), paging))


@router.post(
    "/applications/{application:name}/accessKeys",
    status_code=201,
    response_model=IssuedKey,
    openapi_extra=bodies.json_body(NewAccessKey),
)
async def create_access_key(
    request: Request, service: ServiceCalls, application: ApplicationName
) -> Response:
    """Make a key; the answer is the only time that its secret is shown."""
    body = await bodies.parse_model(request, NewAccessKey)
    return answer(await service.create_access_key(application, body), status=201)


@router.delete("/applications/{application:name}/accessKeys/{key:name}", status_code=204)
async def delete_access_key(
    service: ServiceCalls, application: ApplicationName, key: KeyId
) -> Response:
    """Forget a key; it lets nobody in from now on."""
    await service.delete_access_key(application, key)
    return Response(status_code=204)


@router.get("/auditEntries", response_model=Page[AuditEntry])
async def list_audit_entries(
    service: ServiceCalls,
    paging: PageQuery,
    principal: Annotated[
        str, Query(max_length=256, description="Of this one; `key:NAME/` for all keys of NAME.")
    ] = "",
    action: Annotated[str, Query(max_length=128, description="This call only.")] = "",
) -> Response:
    """List what was changed, and what was refused, newest first."""
    return answer(
        await service.list_audit_entries(
            principal=principal, action=action, page_size=paging.size, page_token=paging.token
        )
    )
