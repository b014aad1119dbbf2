"""Workers: what is declared, and the verbs on it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from workmanager.api.requests import Rollback
from workmanager.api.rest import bodies
from workmanager.api.rest.answers import (
    answer,
    answer_apply,
    answer_operation,
    answer_worker,
    if_match,
    refuse_etag,
)
from workmanager.api.rest.bodies import JSON, MERGE_PATCH, YAML
from workmanager.api.rest.openapi import IF_MATCH, refuses
from workmanager.api.rest.params import Flag, PageQuery, ServiceCalls, Text, WorkerRef
from workmanager.api.rest.routing import Route
from workmanager.errors import NotFoundError
from workmanager.model.resources import (
    ApplyResult,
    Diff,
    Explanation,
    Operation,
    Page,
    Worker,
)

router = APIRouter(route_class=Route, prefix="/v1/workers", tags=["workers"])
verbs = APIRouter(route_class=Route, prefix="/v1", tags=["workers"])


@router.get("", response_model=Page[Worker])
async def list_workers(
    service: ServiceCalls,
    paging: PageQuery,
    filter: Text = "",  # noqa: A002 - the name on the wire (AIP-160)
    order_by: Annotated[str, Query(alias="orderBy", max_length=256)] = "",
) -> Response:
    """List workers."""
    return answer(
        await service.list_workers(
            filter=filter, order_by=order_by, page_size=paging.size, page_token=paging.token
        )
    )


@router.post(
    "",
    status_code=201,
    response_model=Worker,
    openapi_extra=bodies.manifest_body(),
    responses=refuses(409, 422),
)
async def create_worker(request: Request, service: ServiceCalls, start: Flag = True) -> Response:
    """Create a worker from a manifest, or from the short form `{"codeSource": {"Content": …}}`."""
    manifest = await bodies.parse_object(request, JSON, *YAML)
    return answer_worker(request, await service.create_worker(manifest, start=start), status=201)


@verbs.post("/workers:recover", status_code=202, response_model=Operation)
async def recover(service: ServiceCalls) -> Response:
    """Run the recovery of all workers again."""
    return answer_operation(await service.recover())


@router.get("/{worker:name}", response_model=Worker, responses={304: {"description": "Unchanged"}})
async def get_worker(request: Request, service: ServiceCalls, worker: WorkerRef) -> Response:
    """Get one worker."""
    return answer_worker(request, await service.get_worker(worker))


@router.put(
    "/{worker:name}",
    response_model=ApplyResult,
    openapi_extra=bodies.manifest_body() | IF_MATCH,
    responses={201: {"model": ApplyResult, "description": "Created"}, **refuses(409, 412, 422)},
)
async def apply_worker(
    request: Request,
    service: ServiceCalls,
    worker: WorkerRef,
    dry_run: Annotated[Flag, Query(alias="dryRun")] = False,
) -> Response:
    """Create the worker, or change it to what the manifest says."""
    manifest = await bodies.parse_object(request, JSON, *YAML)
    if request.headers.get("if-match", "").strip() == "*":
        await _must_exist(service, worker)
    result = await service.apply_worker(
        worker, manifest, if_match=if_match(request), dry_run=dry_run
    )
    return answer_apply(result)


@router.patch(
    "/{worker:name}",
    response_model=ApplyResult,
    openapi_extra=bodies.merge_patch_body() | IF_MATCH,
    responses=refuses(409, 412, 422),
)
async def patch_worker(request: Request, service: ServiceCalls, worker: WorkerRef) -> Response:
    """Change a worker by a JSON merge patch (RFC 7396) of its manifest."""
    patch = await bodies.parse_object(request, MERGE_PATCH, JSON)
    return answer_apply(await service.patch_worker(worker, patch, if_match=if_match(request)))


@router.delete(
    "/{worker:name}",
    status_code=202,
    response_model=Operation,
    openapi_extra=IF_MATCH,
    responses=refuses(409, 412),
)
async def delete_worker(
    request: Request, service: ServiceCalls, worker: WorkerRef, drain: Flag = True
) -> Response:
    """Stop a worker and forget it with its inbox; `drain=false` does not wait for its attempts."""
    return answer_operation(
        await service.delete_worker(worker, drain=drain, if_match=if_match(request))
    )


@router.post("/{worker:name}:start", response_model=Worker, responses=refuses(409))
async def start_worker(request: Request, service: ServiceCalls, worker: WorkerRef) -> Response:
    """Ask for RUNNING; a FAILED worker gets a new chance."""
    return answer_worker(request, await service.start_worker(worker))


@router.post("/{worker:name}:stop", response_model=Worker, responses=refuses(409))
async def stop_worker(request: Request, service: ServiceCalls, worker: WorkerRef) -> Response:
    """Ask for STOPPED; the inbox keeps filling."""
    return answer_worker(request, await service.stop_worker(worker))


@router.post("/{worker:name}:pause", response_model=Worker, responses=refuses(409))
async def pause_worker(request: Request, service: ServiceCalls, worker: WorkerRef) -> Response:
    """Ask for PAUSED: executors stay warm, nothing is handed out."""
    return answer_worker(request, await service.pause_worker(worker))


@router.post("/{worker:name}:resume", response_model=Worker, responses=refuses(409))
async def resume_worker(request: Request, service: ServiceCalls, worker: WorkerRef) -> Response:
    """Ask for RUNNING after a pause."""
    return answer_worker(request, await service.resume_worker(worker))


@router.post("/{worker:name}:restart", response_model=Worker, responses=refuses(409))
async def restart_worker(request: Request, service: ServiceCalls, worker: WorkerRef) -> Response:
    """Replace the executors by new ones of the same version."""
    return answer_worker(request, await service.restart_worker(worker))


@router.post(
    "/{worker:name}:rollback",
    status_code=202,
    response_model=Operation,
    openapi_extra=bodies.json_body(Rollback),
    responses=refuses(409),
)
async def rollback_worker(request: Request, service: ServiceCalls, worker: WorkerRef) -> Response:
    """Make an earlier version current."""
    body = await bodies.parse_model(request, Rollback)
    return answer_operation(
        await service.rollback_worker(worker, version=body.version or None, message=body.message)
    )


@router.get("/{worker:name}:explain", response_model=Explanation)
async def explain_worker(service: ServiceCalls, worker: WorkerRef) -> Response:
    """Say in one sentence why the worker is or is not processing."""
    return answer(await service.explain_worker(worker))


@router.post("/{worker:name}:diff", response_model=Diff, openapi_extra=bodies.manifest_body())
async def diff_worker(request: Request, service: ServiceCalls, worker: WorkerRef) -> Response:
    """Say what an apply of the manifest would change; changes nothing."""
    manifest = await bodies.parse_object(request, JSON, *YAML)
    return answer(await service.diff_worker(worker, manifest))


async def _must_exist(service: ServiceCalls, worker: str) -> None:
    try:
        await service.get_worker(worker)
    except NotFoundError as exc:
        raise refuse_etag(f"If-Match: * asks for a worker that exists; {worker} does not") from exc
