"""Probes, health, metrics, version, and the page of the documentation."""

import sys
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

import workmanager
from workmanager.api.problems import HttpProblemError
from workmanager.api.protocol import Service
from workmanager.api.rest.answers import answer
from workmanager.api.rest.docs import DOCS_HEADERS, DOCS_PAGE
from workmanager.api.rest.openapi import refuses
from workmanager.api.rest.params import Flag, ServiceCalls
from workmanager.api.rest.routing import Route
from workmanager.errors import AuthenticationError, Reason
from workmanager.model.resources import Health, Resource

router = APIRouter(route_class=Route, tags=["service"])

Verbose = Annotated[Flag, Query(description="Answer with a record per part; needs credentials.")]
_PROBE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Yes; with `verbose` the health of each part.",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/json": {"schema": {"$ref": "#/components/schemas/Health"}},
        },
    },
    503: {
        "description": "No",
        "content": {
            **refuses(503)[503]["content"],
            "application/json": {"schema": {"$ref": "#/components/schemas/Health"}},
        },
    },
}


class VersionInfo(Resource):
    """What runs here."""

    version: str
    api_version: str = Field(default="v1")
    python: str


@router.get("/livez", response_class=Response, responses=_PROBE)
async def livez(request: Request, service: ServiceCalls, verbose: Verbose = False) -> Response:
    """Tell whether the service's loop is alive."""
    return await _probe(request, service, "" if service.live() else "the loop is stuck", verbose)


@router.get("/readyz", response_class=Response, responses=_PROBE)
async def readyz(request: Request, service: ServiceCalls, verbose: Verbose = False) -> Response:
    """Tell whether calls can be served."""
    is_ready, why = service.ready()
    return await _probe(request, service, "" if is_ready else why or "not ready", verbose)


@router.get("/startupz", response_class=Response, responses=_PROBE)
async def startupz(request: Request, service: ServiceCalls, verbose: Verbose = False) -> Response:
    """Tell whether recovery is over."""
    return await _probe(
        request, service, "" if service.started() else "recovery is under way", verbose
    )


@router.get("/v1/health", response_model=Health, responses=refuses(404))
async def health(
    service: ServiceCalls,
    verbose: Flag = False,
    worker: Annotated[str, Query(max_length=128, description="Of this worker.")] = "",
    executor: Annotated[str, Query(max_length=256, description="Of this executor.")] = "",
) -> Response:
    """Get the health of the service, a worker or an executor; always 200, `status` tells."""
    found = await service.health(verbose=verbose, worker=worker or None, executor=executor or None)
    return answer(found)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(service: ServiceCalls) -> Response:
    """Get the metrics in the Prometheus text format."""
    return Response(await service.metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/version", response_model=VersionInfo)
async def version() -> Response:
    """Tell what runs here."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return answer(VersionInfo(version=workmanager.__version__, python=python))


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """Show /openapi.json as a page."""
    return Response(DOCS_PAGE, media_type="text/html", headers=DOCS_HEADERS)


async def _probe(request: Request, service: Service, fault: str, verbose: bool) -> Response:
    if verbose:
        if not request.scope.get("state", {}).get("principal"):
            raise AuthenticationError("?verbose tells about the inside: it needs credentials")
        return answer(await service.health(verbose=True), status=503 if fault else 200)
    if fault:
        raise HttpProblemError(fault, reason=Reason.INVALID_STATE, status=503)
    return Response("ok\n", media_type="text/plain")
