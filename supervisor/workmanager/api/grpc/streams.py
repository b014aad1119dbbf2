"""The rpcs that answer with streams: changes of workers and tasks, and lines of logs.

A change or a line is encoded once, whoever reads it: a message of a stream is a list of messages,
and the encoding of such a list is the encodings of its items one after another.

    WatchResponse, TailLogsResponse = (tag of field 1, length, item)*
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.api.grpc import tasks, workers
from workmanager.api.grpc.convert import from_json, to_message
from workmanager.api.grpc.versions import MAX_TAIL, tail_of
from workmanager.errors import SlowReaderError
from workmanager.telemetry.changes import Batch
from workmanager.telemetry.tails import Handful
from workmanager.v1 import log_pb2, task_service_pb2, watch_pb2, worker_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from google.protobuf.message import Message

    from workmanager.api.grpc.outlet import Outlet
    from workmanager.api.grpc.rpc import Stream
    from workmanager.api.protocol import Service, Watch
    from workmanager.telemetry.changes import Change

ITEM_TAG = b"\x0a"  # field 1, length-delimited
MESSAGE_BYTES = 1024 * 1024  # of lines, and a handful more; clients take 4 MiB
FAREWELL_S = 1.0  # for the message under way when a stream is cut off

log = structlog.get_logger(__name__)


@workers.calls.stream()
def watch_workers(request: worker_service_pb2.WatchWorkersRequest) -> Stream:
    """Follow workers and executors."""
    kinds = list(request.kinds) or ["workers"]
    return partial(_watch, kinds=kinds, worker=request.worker, token=request.resume_token)


@tasks.calls.stream()
def watch_tasks(request: task_service_pb2.WatchTasksRequest) -> Stream:
    """Follow tasks and dead letters."""
    kinds = list(request.kinds) or ["tasks"]
    return partial(_watch, kinds=kinds, worker=request.worker, token=request.resume_token)


@workers.calls.stream()
def tail_logs(request: worker_service_pb2.TailLogsRequest) -> Stream:
    """Get the last lines, then each as it comes."""
    tail = tail_of(request) or MAX_TAIL
    return partial(_tail, worker=request.worker or None, since_seq=request.since_seq, tail=tail)


# -- changes ---------------------------------------------------------------------------------------


async def _watch(
    service: Service, outlet: Outlet, *, kinds: list[str], worker: str, token: str
) -> None:
    async with service.watch(kinds, worker=worker, resume_token=token) as watch:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_end_when_dropped, watch, nursery.cancel_scope)
                while True:
                    changes = await watch.take()
                    await outlet.send(partial(_encode_changes, changes))
        except* SlowReaderError as group:
            log.warning("watch_cut_off", door="grpc", why=str(group.exceptions[0]))
            raise
        await watch.take()  # it was dropped while a message was under way: this says why


async def _end_when_dropped(watch: Watch, scope: trio.CancelScope) -> None:
    await watch.dropped.wait()
    await trio.sleep(FAREWELL_S)
    log.warning("watch_cut_off", door="grpc", why="the client does not read")
    scope.cancel()


def _encode_changes(changes: Sequence[Change]) -> bytes:
    """Encode a message; one that many streams send is encoded for the first of them."""
    if not isinstance(changes, Batch):
        return b"".join(change.encoded or _encode_change(change) for change in changes)
    if changes.encoded is None:
        changes.encoded = b"".join(change.encoded or _encode_change(change) for change in changes)
    return changes.encoded


def _encode_change(change: Change) -> bytes:
    values: dict[str, object] = {"type": change.type, "resumeToken": change.token}
    if change.kind is not None and change.resource is not None:
        values["kind"] = change.kind.field
        values[change.kind.field] = change.resource.model_dump(by_alias=True)
    change.encoded = as_item(from_json(watch_pb2.Change, values))
    return change.encoded


# -- lines -----------------------------------------------------------------------------------------


async def _tail(
    service: Service, outlet: Outlet, *, worker: str | None, since_seq: int, tail: int
) -> None:
    kept = await service.logs(worker, since_seq=since_seq, tail=tail)
    last = kept[-1].seq if kept else since_seq
    async with service.tail_logs(worker, since_seq=last) as lines:
        for handful in Handful.split(kept):
            await outlet.send(partial(_encode_lines, [handful]))
        while True:
            for handfuls in _in_messages(await lines.take()):
                await outlet.send(partial(_encode_lines, handfuls))


def _in_messages(handfuls: Iterable[Handful]) -> Iterator[list[Handful]]:
    message: list[Handful] = []
    size_bytes = 0
    for handful in handfuls:
        message.append(handful)
        size_bytes += handful.size_bytes
        if size_bytes >= MESSAGE_BYTES:
            yield message
            message, size_bytes = [], 0
    if message:
        yield message


def _encode_lines(handfuls: Sequence[Handful]) -> bytes:
    """Encode a message; a handful that many streams send is encoded for the first of them."""
    for handful in handfuls:
        if handful.encoded is None:
            handful.encoded = b"".join(as_item(to_message(log_pb2.LogLine, x)) for x in handful)
    return b"".join(handful.encoded or b"" for handful in handfuls)


def as_item(message: Message) -> bytes:
    """Encode *message* as an item of the list that is field 1 of a message."""
    body = message.SerializeToString()
    return b"".join((ITEM_TAG, _varint(len(body)), body))


def _varint(number: int) -> bytes:
    """Encode a number in groups of seven bits, the lowest first (protobuf, "Base 128 Varints")."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
