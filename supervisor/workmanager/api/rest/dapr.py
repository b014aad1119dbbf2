"""What a Dapr sidecar asks of the app at its --app-port; no part of WorkManager's own API.

Events come over streams that WorkManager opens, so there is nothing to subscribe to here and
nothing to configure: both answers only keep the sidecar from warning about a 404. `/healthz` is
the path of `--enable-app-health-check`. It tells whether this process lives, not whether it is
ready: a sidecar that finds an app unhealthy takes its subscriptions away, which heals nothing.
"""

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from workmanager.api.rest.params import ServiceCalls
from workmanager.api.rest.routing import Route

router = APIRouter(route_class=Route, include_in_schema=False)


@router.get("/dapr/subscribe")
async def subscriptions() -> Response:
    """Name no subscription: the streams do."""
    return JSONResponse([])


@router.get("/dapr/config")
async def configuration() -> Response:
    """Ask for no actors."""
    return JSONResponse({})


@router.get("/healthz")
async def healthz(service: ServiceCalls) -> Response:
    """Tell whether the service's loop is alive."""
    if service.live():
        return PlainTextResponse("ok\n")
    return PlainTextResponse("the loop is stuck\n", status_code=503)
