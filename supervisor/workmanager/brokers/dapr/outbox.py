"""Publishing what the outbox holds: in order by topic, in bulk, again until the sidecar says yes.

Each topic with something to send has a lane: one call at a time, of as many events as have
gathered. An entry that failed is sent again before what came after it. One that fails by itself
again and again (it is too large for the broker) is put off, so that it holds up nobody.

A crash between the sidecar's yes and the commit publishes an event a second time, with the same id.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio
from dapr.proto.runtime.v1 import pubsub_pb2
from google.protobuf import empty_pb2

from workmanager.brokers.dapr.envelope import CONTENT_TYPE, RAW, to_publish
from workmanager.errors import SidecarError
from workmanager.model.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workmanager.dispatch.outbox import Outbox
    from workmanager.dispatch.task import Task
    from workmanager.sidecar.connection import Sidecar

BULK_COUNT = 500  # events of one call
BULK_BYTES = 2 * 2**20  # of one call; the sidecar takes 4 MiB unless it is told otherwise
TAKE = 5000  # events taken from the outbox at once
AHEAD = 20_000  # events in lanes; the rest stays in the outbox
PUBLISH_S = 30.0
WAIT_FIRST_S = 0.1
WAIT_MOST_S = 5.0
PATIENCE = 8  # tries by itself before an event is put off: some 15 s
PUT_OFF_S = 30.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Lane:
    """What a topic has to send; *tries* counts failures since something went through."""

    tasks: deque[Task] = field(default_factory=deque)
    tries: int = 0
    is_single: bool = False  # after a call failed as a whole: one by one, to find the culprit


class Publisher:
    """Takes events from a source and publishes them."""

    def __init__(
        self,
        sidecar: Sidecar,
        source: Outbox,
        pubsub: str,
        *,
        on_published: Callable[[str], None],
    ) -> None:
        self._sidecar = sidecar
        self._source = source
        self._pubsub = pubsub
        self._on_published = on_published
        self._lanes: dict[str, _Lane] = {}
        self._ahead = 0
        self._room = trio.Event()
        self._bulk = "BulkPublishEvent"

    async def run(self) -> None:
        """Publish until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._sidecar.wait_up()
                for task in await self._source.take(TAKE):
                    topic = task.event.topic
                    lane = self._lanes.get(topic)
                    if lane is None:
                        lane = self._lanes[topic] = _Lane()
                        nursery.start_soon(self._drain, topic, lane)
                    lane.tasks.append(task)
                    self._ahead += 1
                while self._ahead > AHEAD:
                    self._room = trio.Event()
                    await self._room.wait()

    async def _drain(self, topic: str, lane: _Lane) -> None:
        """Publish what a lane holds and what is added meanwhile; then the lane is gone."""
        while lane.tasks:
            await self._sidecar.wait_up()
            batch = _cut(lane)
            failed = await self._publish(topic, lane, batch)
            done = [task for task in batch if task.number not in failed]
            self._ahead -= len(done)
            if done:
                lane.tries = 0
                self._source.settle(done)
                self._on_published(topic)
                self._room.set()
            if failed:
                again = [task for task in batch if task.number in failed]
                lane.tasks.extendleft(reversed(again))
                await self._wait(topic, lane)
        del self._lanes[topic]

    async def _publish(self, topic: str, lane: _Lane, batch: Sequence[Task]) -> set[int]:
        """Publish *batch*; returns the numbers of those that failed."""
        try:
            errors = await self._call(topic, batch)
        except SidecarError as error:
            self._source.refused(str(error))
            if not error.is_absence:
                lane.is_single = True
                for task in batch[:1]:
                    task.attempt += len(batch) == 1
                _tell(topic, lane, len(batch), str(error))
            return {task.number for task in batch}
        if not errors:
            lane.is_single = False
            return set()
        failed = {batch[index].number for index in errors}
        text = next(iter(errors.values()))
        self._source.refused(text)
        _tell(topic, lane, len(failed), text)
        for index in errors:
            batch[index].attempt += 1
        return failed

    async def _call(self, topic: str, batch: Sequence[Task]) -> dict[int, str]:
        """Make the call; returns errors by the places of the entries that failed."""
        if len(batch) == 1:
            await self._publish_one(topic, batch[0])
            return {}
        request = pubsub_pb2.BulkPublishRequest(
            pubsub_name=self._pubsub,
            topic=topic,
            metadata=RAW,
            entries=[
                pubsub_pb2.BulkPublishRequestEntry(
                    entry_id=str(index),
                    event=to_publish(Event.unpack(task.event.wire), task.event.topic),
                    content_type=CONTENT_TYPE,
                    metadata=_metadata(task),
                )
                for index, task in enumerate(batch)
            ],
        )
        answer = pubsub_pb2.BulkPublishResponse
        try:
            response = await self._sidecar.call(self._bulk, request, answer, timeout_s=PUBLISH_S)
        except SidecarError as error:
            if error.code != "UNIMPLEMENTED" or self._bulk.endswith("Alpha1"):
                raise
            self._bulk = "BulkPublishEventAlpha1"  # as it was called before Dapr 1.16
            response = await self._sidecar.call(self._bulk, request, answer, timeout_s=PUBLISH_S)
        return {int(entry.entry_id): entry.error for entry in response.failedEntries}

    async def _publish_one(self, topic: str, task: Task) -> None:
        request = pubsub_pb2.PublishEventRequest(
            pubsub_name=self._pubsub,
            topic=topic,
            data=to_publish(Event.unpack(task.event.wire), task.event.topic),
            data_content_type=CONTENT_TYPE,
            metadata=_metadata(task),
        )
        await self._sidecar.call("PublishEvent", request, empty_pb2.Empty, timeout_s=PUBLISH_S)

    async def _wait(self, topic: str, lane: _Lane) -> None:
        """Let time pass after a failure; put off what has failed by itself too often."""
        head = lane.tasks[0]
        if head.attempt >= PATIENCE:
            head.attempt = 0
            lane.tasks.popleft()
            self._ahead -= 1
            self._source.put_off(head, delay_s=PUT_OFF_S)
            log.warning("publishing_put_off", topic=topic, task=head.id, for_s=PUT_OFF_S)
            return
        wait_s = min(WAIT_FIRST_S * 2**lane.tries, WAIT_MOST_S)
        lane.tries = min(lane.tries + 1, 16)
        await trio.sleep(wait_s)


def _cut(lane: _Lane) -> list[Task]:
    """Take the next call's events off *lane*."""
    batch = [lane.tasks.popleft()]
    size = batch[0].size_bytes
    while lane.tasks and not lane.is_single and len(batch) < BULK_COUNT:
        size += lane.tasks[0].size_bytes
        if size > BULK_BYTES:
            break
        batch.append(lane.tasks.popleft())
    return batch


def _metadata(task: Task) -> dict[str, str]:
    """Return the metadata of an entry.

    Never empty: an entry without any does not get those of the call (dapr/python-sdk#1214).
    """
    key = task.event.attributes.get("partitionkey")
    return {**RAW, "partitionKey": key} if isinstance(key, str) else dict(RAW)


def _tell(topic: str, lane: _Lane, count: int, error: str) -> None:
    if not lane.tries:
        log.warning("publishing_refused", topic=topic, events=count, error=error)
