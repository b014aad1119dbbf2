"""One topic's subscription: a stream of the sidecar, opened anew as often as it takes.

A thread of ours reads the stream and appends to a queue that all streams share; a thread of gRPC's
writes the answers. Both end with the call, which `Call.cancel` ends from the loop.

    waiting -> opening -> open -> draining -> (closed | paused | waiting)

Every delivery is answered once at most, by the session it came on: an answer that is late for its
stream would be one too many for the next (dapr/dapr, pkg/runtime/pubsub/streamer/conn.go).
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

import grpc
import structlog
import trio
from dapr.proto.runtime.v1 import appcallback_pb2, pubsub_pb2

from workmanager.brokers.dapr.envelope import RAW
from workmanager.sidecar.connection import as_sidecar_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventRequest

    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.errors import SidecarError
    from workmanager.sidecar.connection import Sidecar

IN_HAND = 2000  # deliveries of a stream that may wait for their answer; then it is not read
OPEN_S = 10.0  # within which a sidecar answers a new stream
QUIET_S = 0.02  # without a delivery, in which a stream that is to end is idle
DRAIN_S = 0.5  # for which a stream that is to end may stay busy
RETRY_FIRST_S = 0.1
RETRY_MOST_S = 5.0

_SUCCESS = appcallback_pb2.TopicEventResponse(
    status=appcallback_pb2.TopicEventResponse.TopicEventResponseStatus.SUCCESS
)

log = structlog.get_logger()
threads = trio.CapacityLimiter(100_000)  # one for each open stream; trio's own limit is 40 in all


def returned_topic(app_id: str) -> str:
    """Return the topic for deliveries that failed because their stream ended.

    The sidecar puts them there as they are. Without it some components, Redis among them since
    Dapr 1.17, take a failed delivery for done: of 240 events that waited on eight streams when
    their app was killed, 67 were lost; with it none. Each app has its own: other apps that listen
    to the same topic have had the event.
    """
    return f"workmanager.returned.{app_id}"


class State(Enum):
    """What a subscription is about."""

    WAITING = "waiting"  # for the sidecar, or for its next try
    PAUSED = "paused"  # for room in an inbox
    OPENING = "opening"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


class Session:
    """One stream, from its first request to its end.

    Attributes:
        hand: How often each id was delivered and is not answered yet.
        opened_at: When the sidecar said that it is open (trio's clock); 0 before.
        last_at: When the last delivery came, or it was opened.
        is_listed: Whether the sidecar was seen to count it among its subscriptions.
        has_collision: Whether one id was in hand twice: one of the two is never answered.
    """

    def __init__(self, topic: Subscription) -> None:
        self.subscription = topic
        self.hand: Counter[str] = Counter()
        self.opened_at = 0.0
        self.last_at = 0.0
        self.is_listed = False
        self.has_collision = False
        self.ended = trio.Event()
        self.error: SidecarError | None = None
        self._requests: queue.SimpleQueue[pubsub_pb2.SubscribeTopicEventsRequestAlpha1 | None]
        self._requests = queue.SimpleQueue()
        self._gate = threading.Semaphore(IN_HAND)
        self._is_over = False
        self._call: grpc.Call | None = None

    def open(self, sidecar: Sidecar, pubsub: str) -> None:
        """Start the call."""
        first = pubsub_pb2.SubscribeTopicEventsRequestInitialAlpha1(
            pubsub_name=pubsub,
            topic=self.subscription.topic,
            metadata=RAW,
            dead_letter_topic=returned_topic(sidecar.metadata.id),
        )
        self._requests.put(pubsub_pb2.SubscribeTopicEventsRequestAlpha1(initial_request=first))
        self._call = sidecar.open_stream(self._written())

    def note_open(self) -> None:
        """Note that the stream is open, in the loop."""
        self.opened_at = self.last_at = trio.current_time()
        self.subscription.wake()

    def took(self, delivery_id: str) -> None:
        """Note a delivery, in the loop."""
        self.last_at = trio.current_time()
        self.hand[delivery_id] += 1
        if self.hand[delivery_id] > 1:
            self.has_collision = True

    def answer(self, delivery_id: str) -> None:
        """Answer SUCCESS; of several deliveries with one id only the last is answered."""
        self._gate.release()
        left = self.hand[delivery_id] - 1
        if left > 0:
            self.hand[delivery_id] = left
            return
        del self.hand[delivery_id]
        if self._is_over:
            return
        processed = pubsub_pb2.SubscribeTopicEventsRequestProcessedAlpha1(
            id=delivery_id, status=_SUCCESS
        )
        self._requests.put(pubsub_pb2.SubscribeTopicEventsRequestAlpha1(event_processed=processed))

    def end(self) -> None:
        """End the stream at once; what is unanswered, the sidecar delivers again if it can."""
        self._is_over = True
        if self._call is not None:
            self._call.cancel()
        self._requests.put(None)
        self._gate.release()

    def read(self, take: Callable[[Session, TopicEventRequest | None], None]) -> SidecarError:
        """Read until the stream ends, in a thread of its own; returns why it ended."""
        stream: Iterator[pubsub_pb2.SubscribeTopicEventsResponseAlpha1] = self._call  # type: ignore[assignment]  # it is both
        try:
            for response in stream:
                if not response.HasField("event_message"):
                    take(self, None)
                    continue
                self._gate.acquire()
                if self._is_over:
                    break
                take(self, response.event_message)
        except grpc.RpcError as error:
            return as_sidecar_error("SubscribeTopicEventsAlpha1", error)
        return as_sidecar_error("SubscribeTopicEventsAlpha1", EOFError())

    def _written(self) -> Iterator[pubsub_pb2.SubscribeTopicEventsRequestAlpha1]:
        while (request := self._requests.get()) is not None:
            yield request


class Subscription:
    """A topic that is listened to for as long as this host has a worker for it.

    Attributes:
        blocked_by: Workers of the topic whose inbox is full; dispatch takes them out again.
        why: What it waits for, in words.
        events: Deliveries so far.
        answered: Those that are durable and answered for.
        opened: Streams opened so far.
        fruitless: Times in a row that it was opened anew because nothing came, and nothing did.
        known: Set once it was open for the first time, or could not be.
        awaited_since: Since when something published here has not come back; 0 for nothing.
    """

    def __init__(self, topic: str, sidecar: Sidecar, pubsub: str) -> None:
        self.topic = topic
        self.state = State.WAITING
        self.why = ""
        self.blocked_by: set[WorkerDispatch] = set()
        self.events = 0
        self.answered = 0
        self.opened = 0
        self.fruitless = 0
        self.awaited_since = 0.0
        self.known = trio.Event()
        self.session: Session | None = None
        self._sidecar = sidecar
        self._pubsub = pubsub
        self._is_closing = False
        self._held = ""  # why it must not be open, besides full inboxes
        self._again = ""  # why the present stream is to be replaced
        self._news = trio.Event()
        self._tries = 0

    @property
    def is_open(self) -> bool:
        """Whether deliveries can come."""
        return self.state is State.OPEN

    def why_shut(self) -> str:
        """Say why no delivery can come; "" while it is open."""
        if self.is_open:
            return ""
        return f"its subscription is {self.state.value}: {self.why}".removesuffix(": ")

    def close(self) -> None:
        """Ask it to drain and end."""
        self._is_closing = True
        self.wake()

    def reopen(self, why: str) -> None:
        """Ask for a new stream in place of this one."""
        self._again = why
        self.wake()

    def hold(self, why: str) -> None:
        """Ask it to drain and stay shut until `hold("")`."""
        if why != self._held:
            self._held = why
            self.wake()

    def wake(self) -> None:
        """Look again: something it waits for may have changed (dispatch calls this, too)."""
        self._news.set()

    async def run(self, take: Callable[[Session, TopicEventRequest | None], None]) -> None:
        """Listen until closed; *take* gets every delivery, in the reader's thread."""
        while not self._is_closing:
            why = self._pause()
            if why:
                self._move(State.PAUSED, why)
                await self._wait()
                continue
            if not self._sidecar.is_up:
                self._move(State.WAITING, self._sidecar.last_error)
                await self._wait()  # its coming is told
                continue
            self._again = ""
            await self._listen(take)
        self._move(State.CLOSED, "")

    async def _listen(self, take: Callable[[Session, TopicEventRequest | None], None]) -> None:
        session = self.session = Session(self)
        self._move(State.OPENING, "the sidecar has not answered")
        try:
            session.open(self._sidecar, self._pubsub)
        except ValueError:  # the channel is closed: the service ends
            self._is_closing = True
            return
        self.opened += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, session, take)
            try:
                await self._attend(session)
            finally:
                session.end()
        self.session = None
        if session.error is not None and not (self._is_closing or self._again or self._pause()):
            self._sidecar.look()
            await self._back_off(session.error)

    async def _read(
        self, session: Session, take: Callable[[Session, TopicEventRequest | None], None]
    ) -> None:
        """Run the reader's thread; it ends when the call does, which `Session.end` sees to."""
        with trio.CancelScope(shield=True):
            session.error = await trio.to_thread.run_sync(session.read, take, limiter=threads)
        session.ended.set()
        self.wake()

    async def _attend(self, session: Session) -> None:
        """Return when the stream has ended, or is to end and is drained."""
        began = trio.current_time()
        while not session.ended.is_set():
            if not session.opened_at and trio.current_time() - began > OPEN_S:
                self._again = f"no answer within {OPEN_S:g} s"
            if session.opened_at and self.state is State.OPENING:
                self._move(State.OPEN, "")
                self._tries = 0
            if not self._sidecar.is_up:
                return
            if self._is_closing or self._again or self._pause():
                await self._drain(session)
                return
            with trio.move_on_after(OPEN_S):
                await self._wait()

    async def _drain(self, session: Session) -> None:
        """Answer what has come, until nothing comes for a moment."""
        self._move(State.DRAINING, self._again or self._pause())
        if self._again:
            log.info("subscription_reopened", topic=self.topic, why=self._again)
        with trio.move_on_after(DRAIN_S):
            while not session.ended.is_set():
                events = self.events
                await trio.sleep(QUIET_S)
                if events == self.events and not session.hand:
                    return

    async def _back_off(self, error: SidecarError) -> None:
        self._move(State.WAITING, str(error))
        if not self._tries:
            log.warning("subscription_lost", topic=self.topic, error=str(error))
        wait_s = min(RETRY_FIRST_S * 2**self._tries, RETRY_MOST_S)
        self._tries = min(self._tries + 1, 16)
        with trio.move_on_after(wait_s):
            while not self._is_closing:
                await self._wait()

    def _move(self, state: State, why: str) -> None:
        self.state, self.why = state, why
        if state is not State.OPENING:
            self.known.set()

    def _pause(self) -> str:
        if self._held:
            return self._held
        if self.blocked_by:
            names = ", ".join(sorted(worker.name for worker in self.blocked_by))
            return f"the inbox of {names} is full"
        return ""

    async def _wait(self) -> None:
        await self._news.wait()
        self._news = trio.Event()
