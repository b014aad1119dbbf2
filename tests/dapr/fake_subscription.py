"""One streaming subscription of a fake sidecar: deliveries out, one answer per id back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventRequest, TopicEventResponse
from dapr.proto.runtime.v1.pubsub_pb2 import (
    SubscribeTopicEventsRequestInitialAlpha1,
    SubscribeTopicEventsRequestProcessedAlpha1,
    SubscribeTopicEventsResponseAlpha1,
    SubscribeTopicEventsResponseInitialAlpha1,
)
from fake_envelope import EnvelopeError, is_expired, parsed, raw_event, request_of

if TYPE_CHECKING:
    from fake_broker import Component, Message
    from fake_faults import Record

SUCCESS = TopicEventResponse.SUCCESS
DROP = TopicEventResponse.DROP
STOP_S = 0.4  # what a stop takes while the others wait for it
TRUE = ("true", "1", "t", "y", "yes", "on")


class ClosedError(Exception):
    """The stream ended before the answer came."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """The inbound resiliency policy of the pubsub component."""

    retries: int = 0
    interval_s: float = 0.5


@dataclass(eq=False, slots=True)
class Subscription:
    """A stream that a client holds open, subscribed at the component."""

    asked: SubscribeTopicEventsRequestInitialAlpha1
    context: Any  # grpc.aio's servicer context
    component: Component
    inbound: Inbound
    record: Record
    is_closed: bool = False
    is_raced: bool = False  # closed while another was: what waits goes the way of errors
    dropped: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    _waiting: dict[str, asyncio.Future[int]] = field(default_factory=dict)
    _gone: set[asyncio.Future[int]] = field(default_factory=set)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    _loops: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Subscribe, then say so: the first answer on the stream, before any delivery."""
        initial = SubscribeTopicEventsResponseInitialAlpha1()
        async with self._sending:
            self._loops = self.component.subscribe(self.asked.topic, self)
            await self.context.write(SubscribeTopicEventsResponseAlpha1(initial_response=initial))

    def close(self, *, with_sidecar: bool = False) -> None:
        """End it; *with_sidecar*: daprd itself has gone, and acknowledges nothing any more.

        Deliveries of a client that went are errors until daprd has marked the subscription as
        stopped. Stops queue for one lock, so all but the first of several come too late: their
        deliveries are dead-lettered or, without that, acknowledged and lost.
        """
        now = time.monotonic()
        self.is_raced = not with_sidecar and now - self.component.closed_at < STOP_S
        self.component.closed_at = now
        self.is_closed = True
        self._ended.set()
        self.forget()
        for waiting in self._gone:
            if not waiting.done():
                waiting.set_exception(ClosedError())

    def forget(self) -> None:
        """Take the subscription from the component; the stream stays open and is deaf."""
        for loop in self._loops:
            loop.cancel()
        self.component.unsubscribe(self.asked.topic, self)

    def answer(self, processed: SubscribeTopicEventsRequestProcessedAlpha1) -> None:
        status = processed.status.status
        self.record.answers.setdefault(processed.id, []).append(
            TopicEventResponse.TopicEventResponseStatus.Name(status)
        )
        waiting = self._waiting.get(processed.id)
        if waiting is None or waiting.done():
            self.record.stray_answers.append(processed.id)
        else:
            waiting.set_result(status)

    async def handle(self, message: Message) -> bool:
        """Deliver *message*; return False when the component gets an error."""
        if self.is_closed:
            return await self._fail(message, "")
        known = ""
        try:
            event = self._event(message)
            known = str(event.get("id", ""))
            if is_expired(event):
                await self._dead_letter(message)
                return True
            request = request_of(event, topic=self.asked.topic, pubsub=self.component.name)
            status = await self._insist(request)
        except (ClosedError, EnvelopeError):
            status = TopicEventResponse.RETRY
        if status == SUCCESS:
            return True
        if status == DROP:
            await self._dead_letter(message)
            return True
        return await self._fail(message, known)

    @property
    def keeps_pending(self) -> bool:
        """Whether the component leaves what failed unacknowledged."""
        return self.is_closed and not self.is_raced

    async def _fail(self, message: Message, known: str) -> bool:
        if self.keeps_pending:
            return False
        if await self._dead_letter(message):
            return True
        self.record.lost.append(known)
        return False

    async def _insist(self, request: TopicEventRequest) -> int:
        for _ in range(self.inbound.retries):
            status = await self._deliver(request)
            if status in (SUCCESS, DROP):
                return status
            await asyncio.sleep(self.inbound.interval_s)
        return await self._deliver(request)

    async def _deliver(self, request: TopicEventRequest) -> int:
        if self.is_closed:
            raise ClosedError
        waiting: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = waiting  # a second one of this id takes the first one's place
        self._gone.add(waiting)
        self.record.deliveries[request.id] += 1
        try:
            async with self._sending:
                await self._write(SubscribeTopicEventsResponseAlpha1(event_message=request))
            return await waiting
        except (asyncio.InvalidStateError, RuntimeError) as error:  # the call has ended
            raise ClosedError from error
        finally:
            self._gone.discard(waiting)
            self._waiting.pop(request.id, None)

    async def _write(self, response: SubscribeTopicEventsResponseAlpha1) -> None:
        """Write, or give up when the stream ends: a write to a lost client may never be done."""
        writing = asyncio.ensure_future(self.context.write(response))
        ending = asyncio.ensure_future(self._ended.wait())
        await asyncio.wait((writing, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not writing.done():
            writing.cancel()
            raise ClosedError
        writing.result()

    def _event(self, message: Message) -> dict[str, Any]:
        if self.asked.metadata.get("rawPayload", "").lower() in TRUE:
            return raw_event(message.data, self.asked.topic, self.component.name)
        return parsed(message.data)

    async def _dead_letter(self, message: Message) -> bool:
        if not self.asked.dead_letter_topic:
            return False
        self.record.dead_lettered += 1
        with contextlib.suppress(Exception):
            await self.component.publish(
                self.asked.dead_letter_topic, message.data, message.metadata
            )
            return True
        return False
