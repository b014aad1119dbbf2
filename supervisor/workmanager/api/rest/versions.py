"""Versions of a worker's code, and the code itself as raw bytes."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from workmanager.api.problems import HttpProblemError
from workmanager.api.protocol import Service
from workmanager.api.rest import bodies
from workmanager.api.rest.answers import answer, answer_operation
from workmanager.api.rest.openapi import refuses
from workmanager.api.rest.params import Flag, PageQuery, ServiceCalls, VersionId, WorkerRef
from workmanager.api.rest.routing import Route
from workmanager.errors import Reason, WorkManagerError
from workmanager.model.resources import Operation, Page, Version

router = APIRouter(route_class=Route, prefix="/v1/workers/{worker:name}", tags=["versions"])

_CODE: dict[str, Any] = {
    "content": {"application/octet-stream": {}, "text/x-python": {}, "text/x-csharp": {}}
}


@router.get("/versions", response_model=Page[Version])
async def list_versions(service: ServiceCalls, worker: WorkerRef, paging: PageQuery) -> Response:
    """List a worker's versions, the newest first."""
    return answer(
        await service.list_versions(worker, page_size=paging.size, page_token=paging.token)
    )


@router.post(
    "/versions",
    status_code=201,
    response_model=Version,
    openapi_extra=bodies.code_body(),
    responses=refuses(409, 422),
)
async def create_version(
    request: Request, service: ServiceCalls, worker: WorkerRef, promote: Flag = True
) -> Response:
    """Hand the worker new code: it is built and started beside the old, then swapped in."""
    return await _upload(request, service, worker, promote=promote)


@router.get("/versions/{version:version}", response_model=Version)
async def get_version(service: ServiceCalls, worker: WorkerRef, version: VersionId) -> Response:
    """Get one version."""
    return answer(await service.get_version(worker, version))


@router.delete("/versions/{version:version}", status_code=204, responses=refuses(409))
async def delete_version(service: ServiceCalls, worker: WorkerRef, version: VersionId) -> Response:
    """Forget a version that is not in use."""
    await service.delete_version(worker, version)
    return Response(status_code=204)


@router.post(
    "/versions/{version:version}:promote",
    status_code=202,
    response_model=Operation,
    responses=refuses(409, 422),
)
async def promote_version(service: ServiceCalls, worker: WorkerRef, version: VersionId) -> Response:
    """Make a version current."""
    return answer_operation(await service.promote_version(worker, version))


@router.get("/code", response_class=Response, responses={200: _CODE})
async def get_code(
    service: ServiceCalls,
    worker: WorkerRef,
    version: Annotated[str, Query(max_length=256)] = "",
) -> Response:
    """Get the code of a version, by default the current, under its own media type."""
    content, media_type = await service.get_code(worker, version or None)
    headers = {"Content-Disposition": "attachment", "Content-Type": media_type}
    return Response(content, headers=headers)


@router.put(
    "/code",
    status_code=201,
    response_model=Version,
    openapi_extra=bodies.code_body(),
    responses=refuses(409, 422),
)
async def put_code(request: Request, service: ServiceCalls, worker: WorkerRef) -> Response:
    """Replace the worker's code while events flow."""
    return await _upload(request, service, worker, promote=True)


async def _upload(request: Request, service: Service, worker: str, *, promote: bool) -> Response:
    media_type = request.headers.get("content-type", "")
    if not media_type:
        raise WorkManagerError(
            "say by Content-Type what the code is, such as text/x-python",
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
        )
    try:
        version = await service.create_version(
            worker, request.state.body, media_type, promote=promote
        )
    except WorkManagerError as exc:
        if exc.reason is Reason.ENGINE_NOT_FOUND:  # here the media type is the message's own
            raise HttpProblemError(str(exc), reason=exc.reason, status=415) from exc
        raise
    location = f"/v1/workers/{worker}/versions/{version.id}"
    return answer(version, status=201, headers={"Location": location})
