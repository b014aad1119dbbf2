"""What workers wrote: the last lines, or all that come, as server-sent events."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from workmanager.api.protocol import LogTail, Service
from workmanager.api.rest.answers import answer
from workmanager.api.rest.params import Flag, ServiceCalls, WorkerRef
from workmanager.api.rest.routing import Route
from workmanager.api.rest.streaming import EventStreamResponse, sse_event
from workmanager.errors import InvalidArgumentError
from workmanager.model.resources import LogLine, Page
from workmanager.telemetry.tails import Handful

router = APIRouter(route_class=Route, prefix="/v1", tags=["logs"])

DEFAULT_TAIL = 100
MAX_TAIL = 100_000
MAX_SEQ = 2**63 - 1

SinceSeq = Annotated[
    int, Query(alias="sinceSeq", ge=0, le=MAX_SEQ, description="Only lines after this one.")
]
Tail = Annotated[
    int, Query(ge=0, le=MAX_TAIL, description="At most so many kept lines; 0: all that are kept.")
]
Follow = Annotated[Flag, Query(description="Go on with each line as it comes, as an event stream.")]
LastEventId = Annotated[
    str, Header(alias="Last-Event-ID", description="Resumes a stream; stands for sinceSeq.")
]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Lines, the oldest first; with `follow` one event each, `id` is its `seq`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/logs", response_model=Page[LogLine], responses=_STREAM)
async def get_logs(
    service: ServiceCalls,
    since_seq: SinceSeq = 0,
    tail: Tail = DEFAULT_TAIL,
    follow: Follow = False,
    last_event_id: LastEventId = "",
) -> Response:
    """Get the last lines of all workers, or follow them."""
    return await _logs(service, None, _Window(since_seq, tail, last_event_id), follow=follow)


@router.get("/workers/{worker:name}/logs", response_model=Page[LogLine], responses=_STREAM)
async def get_worker_logs(
    service: ServiceCalls,
    worker: WorkerRef,
    since_seq: SinceSeq = 0,
    tail: Tail = DEFAULT_TAIL,
    follow: Follow = False,
    last_event_id: LastEventId = "",
) -> Response:
    """Get the last lines of one worker, or follow them."""
    await service.get_worker(worker)  # a stream that has begun can no longer say 404
    return await _logs(service, worker, _Window(since_seq, tail, last_event_id), follow=follow)


class _Window:
    """Which kept lines are asked for."""

    def __init__(self, since_seq: int, tail: int, last_event_id: str) -> None:
        self.since_seq = since_seq
        self.tail = tail
        if last_event_id:
            if not last_event_id.isdecimal() or int(last_event_id) > MAX_SEQ:
                raise InvalidArgumentError("Last-Event-ID is none that this stream gave")
            self.since_seq, self.tail = int(last_event_id), 0


async def _logs(service: Service, ref: str | None, window: _Window, *, follow: bool) -> Response:
    if follow:
        return EventStreamResponse(_follow(service, ref, window))
    lines = await service.logs(ref, since_seq=window.since_seq, tail=window.tail or MAX_TAIL)
    return answer(Page[LogLine](items=lines))


@asynccontextmanager
async def _follow(
    service: Service, ref: str | None, window: _Window
) -> AsyncIterator[AsyncIterator[bytes]]:
    kept: list[LogLine] = []
    if window.tail:
        kept = await service.logs(ref, since_seq=window.since_seq, tail=window.tail)
    last = kept[-1].seq if kept else window.since_seq
    async with (
        service.tail_logs(ref, since_seq=last) as lines,
        aclosing(_events(kept, lines)) as events,
    ):
        yield events


async def _events(kept: Sequence[LogLine], lines: LogTail) -> AsyncGenerator[bytes, None]:
    for handful in Handful.split(kept):
        yield _events_of(handful)
    while True:
        for handful in await lines.take():
            yield _events_of(handful)


def _events_of(handful: Handful) -> bytes:
    """Encode a handful; one that many streams send is encoded for the first of them."""
    if handful.events is None:
        handful.events = b"".join(map(_event, handful))
    return handful.events


def _event(line: LogLine) -> bytes:
    return sse_event(line.model_dump_json(by_alias=True).encode(), event_id=str(line.seq))
