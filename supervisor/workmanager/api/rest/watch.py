"""Watching: changes as server-sent events for curl, and over a WebSocket for programs.

GET /v1/workers:watch     text/event-stream; `id` is the resume token, `Last-Event-ID` resumes
GET /v1/tasks:watch       the same for tasks and dead letters
GET /v1/watch             WebSocket, any kinds; each message is {"changes": [...]}
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Query, Response
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket

from workmanager.api.problems import problem_document, problem_response
from workmanager.api.protocol import Service, Watch
from workmanager.api.rest.openapi import refuses
from workmanager.api.rest.params import MAX_TEXT_CHARS, ServiceCalls, service_of
from workmanager.api.rest.routing import Route, check_query
from workmanager.api.rest.sockets import push
from workmanager.api.rest.streaming import EventStreamResponse, sse_event
from workmanager.errors import SlowReaderError, WorkManagerError
from workmanager.model.resources import Change
from workmanager.telemetry.changes import Batch
from workmanager.telemetry.changes import Change as Told

PATH = "/v1/watch"
QUERY = frozenset({"kinds", "worker", "resumeToken"})

router = APIRouter(route_class=Route, prefix="/v1", tags=["watch"])
log = structlog.get_logger(__name__)

Worker = Annotated[str, Query(max_length=128, description="Of this worker only.")]
Token = Annotated[
    str,
    Query(
        alias="resumeToken",
        max_length=MAX_TEXT_CHARS,
        description="Go on after this change instead of beginning with what there is.",
    ),
]
LastEventId = Annotated[
    str, Header(alias="Last-Event-ID", description="Resumes a stream; stands for resumeToken.")
]
_STREAM: dict[str, Any] = {
    "status_code": 200,
    "response_model": Change,
    "response_class": EventStreamResponse,
    "response_description": "One event per change, with the change as its data.",
    "responses": refuses(404, 410, 429),
}


@router.get("/workers:watch", **_STREAM)
async def watch_workers(
    service: ServiceCalls,
    kinds: Annotated[str, Query(description="workers, executors, or both by comma.")] = "workers",
    worker: Worker = "",
    resume_token: Token = "",
    last_event_id: LastEventId = "",
) -> Response:
    """Follow workers and executors: what there is, then each change."""
    token = last_event_id or resume_token
    return EventStreamResponse(_events(service, kinds.split(","), worker, token))


@router.get("/tasks:watch", **_STREAM)
async def watch_tasks(
    service: ServiceCalls,
    kinds: Annotated[str, Query(description="tasks, deadLetters, or both by comma.")] = "tasks",
    worker: Worker = "",
    resume_token: Token = "",
    last_event_id: LastEventId = "",
) -> Response:
    """Follow tasks and dead letters: what there is, then each change."""
    token = last_event_id or resume_token
    return EventStreamResponse(_events(service, kinds.split(","), worker, token))


async def watch_socket(websocket: WebSocket) -> None:
    """Serve one WebSocket of /v1/watch."""
    service = service_of(websocket)
    try:
        query = websocket.query_params
        check_query(query.multi_items(), QUERY)
        async with _watch_as_asked(service, query) as watch:
            await websocket.accept()
            await push(websocket, lambda: _message(watch), dropped=watch.dropped)
            if watch.dropped.is_set():
                log.warning("watch_cut_off", door="websocket", why="slow reader")
    except WorkManagerError as error:
        await websocket.send_denial_response(problem_response(error, instance=PATH))


@asynccontextmanager
async def _watch_as_asked(service: Service, query: QueryParams) -> AsyncIterator[Watch]:
    async with service.watch(
        query.get("kinds", "workers").split(","),
        worker=query.get("worker", ""),
        resume_token=query.get("resumeToken", ""),
    ) as watch:
        yield watch


async def _message(watch: Watch) -> str:
    changes = await watch.take()
    if isinstance(changes, Batch):  # many streams send it
        return f'{{"changes":[{changes.json}]}}'
    return f'{{"changes":[{",".join(change.json.decode() for change in changes)}]}}'


@asynccontextmanager
async def _events(
    service: Service, kinds: list[str], worker: str, token: str
) -> AsyncIterator[AsyncIterator[bytes]]:
    async with (
        service.watch(kinds, worker=worker, resume_token=token) as watch,
        aclosing(_told(watch)) as events,
    ):
        yield events


def _sse(changes: Sequence[Told]) -> bytes:
    """Encode changes as events; those that many streams send for the first of them only."""
    if isinstance(changes, Batch) and changes.events is not None:
        return changes.events
    events = b"".join(sse_event(change.json, event_id=change.token) for change in changes)
    if isinstance(changes, Batch):
        changes.events = events
    return events


async def _told(watch: Watch) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            yield _sse(await watch.take())
    except SlowReaderError as error:
        log.warning("watch_cut_off", door="events", why=str(error))
        yield b"event: error\ndata: %b\n\n" % json.dumps(problem_document(error)).encode()
