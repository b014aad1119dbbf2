"""Events: publish, the hot path, past FastAPI; and invoke, one event into one worker."""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from workmanager.api.cloudevents import read_event, read_events
from workmanager.api.problems import problem_response
from workmanager.api.rest import bodies
from workmanager.api.rest.answers import answer
from workmanager.api.rest.openapi import refuses
from workmanager.api.rest.params import ServiceCalls, WorkerRef, service_of
from workmanager.api.rest.routing import Route, check_query
from workmanager.model.resources import InvokeResult

router = APIRouter(route_class=Route, prefix="/v1/workers", tags=["events"])

MAX_INVOKE_S = 3600.0


class PublishEndpoint:
    """`POST /v1/topics/{topic}:publish`: parse, commit, answer; nothing is done per event besides.

    A plain ASGI endpoint: dependency injection and pydantic would cost more than the events.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            response = await self._answer(scope, receive)
        except Exception as exc:  # noqa: BLE001 - the request's border
            response = problem_response(exc, instance=scope["path"])
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        if scope["query_string"]:
            check_query(QueryParams(scope["query_string"]).multi_items(), frozenset())
        body = await bodies.read_body(Headers(scope=scope), receive, max_bytes=self._max_bytes)
        events = read_events(scope["headers"], body)
        service = service_of(HTTPConnection(scope))
        result = await service.publish(scope["path_params"]["topic"], events)
        text = msgspec.json.encode(
            {
                "topic": result.topic,
                "accepted": result.accepted,
                "duplicates": result.duplicates,
                "deliveries": result.deliveries,
            }
        )
        return Response(text, media_type=bodies.JSON)


@router.post(
    "/{worker:name}:invoke",
    response_model=InvokeResult,
    openapi_extra=bodies.event_body(),
    responses=refuses(409, 422, 429, 504),
)
async def invoke(
    request: Request,
    service: ServiceCalls,
    worker: WorkerRef,
    mode: Literal["sync", "async", "dryRun"] = "sync",
    version: Annotated[str, Query(max_length=256)] = "",
    timeout_s: Annotated[
        float,
        Query(alias="timeoutS", gt=0, le=MAX_INVOKE_S, description="How long `sync` waits."),
    ] = 30.0,
) -> Response:
    """Hand one event to one worker; `dryRun` runs the code and publishes and keeps nothing."""
    event = read_event(request.headers.raw, request.state.body)
    result = await service.invoke(
        worker, event, mode=mode, version=version or None, timeout_s=timeout_s
    )
    return answer(result)
