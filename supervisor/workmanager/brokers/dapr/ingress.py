"""Deliveries of all subscriptions: into the inboxes in one commit, then answered.

    readers' threads -> one queue -> [barrier] -> inboxes (commit) -> answers

However many deliveries have come while the loop was busy, they cost it one wake-up, one look at the
registry and one commit. A delivery is answered when it is durable. What cannot be kept is not
answered: the store is given some seconds, then the streams are closed until it is well again.
"""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from workmanager.brokers.dapr.envelope import Finding, from_request, origin_of
from workmanager.brokers.dapr.subscription import State, Subscription, returned_topic
from workmanager.errors import SidecarError, StoreError
from workmanager.policy.deafness import Seen, why_deaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventRequest

    from workmanager.brokers.dapr.subscription import Session
    from workmanager.dispatch.ingress import Inboxes
    from workmanager.dispatch.ledger import Ticket
    from workmanager.model.event import Event
    from workmanager.sidecar.connection import Sidecar

TICK_S = 1.0  # between two looks at the subscriptions
HOLD_S = 5.0  # for which deliveries wait for a store that refuses them
RETRY_S = 0.5  # between two tries meanwhile
COMMIT_S = 0.1  # for which a commit holds up the next bunch at most
BUSY = 4  # deliveries in a bunch
GATHER_STEP_S = 0.001
GATHER_STEPS = 5
BUNCH = 5000  # deliveries of one commit
CLOSE_S = 0.8  # for all streams to drain and end

log = structlog.get_logger()


class Registry(Protocol):
    """Knows which workers there are, on all hosts of the application."""

    async def fresh(self, arrived_at: float) -> None:
        """Return once this host knows every worker that was declared before *arrived_at*.

        Several hosts share a consumer group: an event answered for by one that lacks its worker
        would be gone. *arrived_at* is of trio's clock.

        Raises:
            SidecarError: It cannot be known; the deliveries are left unanswered.
        """


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that came on a stream; *error* says why it is malformed."""

    session: Session
    answer_id: str
    topic: str
    event: Event
    error: Exception | None


class Claimed(Protocol):
    """Keys of claims: those that are ours, and those of events that others have."""

    ours: set[str]
    lost: set[str]


class Claimer(Protocol):
    """Knows which events of this host's groups others have taken in."""

    async def take(self, app_id: str, keys: Iterable[str]) -> Claimed:
        """Claim events by their keys; may raise SidecarError."""

    async def done(self, keys: Iterable[str]) -> None:
        """Tell that the events of these claims are durable."""


class Ingress:
    """Follows the topics of this host and takes in what their streams bring.

    Attributes:
        registry: The barrier before deliveries are routed; None where this host knows all workers.
        claims: What groups share their events by that reach across app-ids.
        subscriptions: By topic; those that drain are among them.
        findings: Events that may differ from what was published, by what.
        received: Deliveries so far.
        malformed: Those among them that were no events.
        returned: Those among them that had been delivered to a stream that ended.
        answered: Deliveries answered for.
    """

    def __init__(
        self, sidecar: Sidecar, inboxes: Inboxes, *, pubsub: str, silence_s: float
    ) -> None:
        self.registry: Registry | None = None
        self.claims: Claimer | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.findings: Counter[Finding] = Counter()
        self.received = 0
        self.malformed = 0
        self.returned = 0
        self.answered = 0
        self._sidecar = sidecar
        self._inboxes = inboxes
        self._pubsub = pubsub
        self._silence_s = silence_s
        self._arrived: deque[tuple[Session, TopicEventRequest]] = deque()
        self._is_told = False
        self._news = trio.Event()
        self._changed = trio.Event()
        self._is_closing = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._trusts_list = False  # the sidecar was seen to list one of our streams
        self._told: set[tuple[str, Finding]] = set()
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled; see `close`."""
        self._token = trio.lowlevel.current_trio_token()
        self._sidecar.on_up.append(self._wake_all)
        self._sidecar.on_down.append(self._wake_all)
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._take_all)
            self._nursery.start_soon(self._watch)
            task_status.started()
            while True:
                self._follow()
                await self._changed.wait()
                self._changed = trio.Event()

    def follow(self) -> None:
        """Look at the topics again: workers have come or gone."""
        self._changed.set()

    def why_silent(self, topic: str) -> str:
        """Say why no event can come on *topic*; "" where it is listened to."""
        subscription = self.subscriptions.get(topic)
        return "it is not followed yet" if subscription is None else subscription.why_shut()

    async def until_known(self, topics: Iterable[str]) -> None:
        """Return when each of *topics* is listened to, or it is known why not."""
        self._follow()
        for topic in topics:
            subscription = self.subscriptions.get(topic)
            if subscription is not None:
                await subscription.known.wait()

    async def close(self) -> None:
        """End every stream, drained if the sidecar lets it; never takes a second."""
        self._is_closing = True
        for subscription in self.subscriptions.values():
            subscription.close()
        with trio.move_on_after(CLOSE_S):
            while any(s.state is not State.CLOSED for s in self.subscriptions.values()):
                self._changed = trio.Event()
                await self._changed.wait()

    def published(self, topic: str) -> None:
        """Note that something was published here: it should come back where it is listened to."""
        subscription = self.subscriptions.get(topic)
        if subscription is not None and not subscription.awaited_since:
            subscription.awaited_since = trio.current_time()

    # -- subscriptions -----------------------------------------------------------------------

    def _follow(self) -> None:
        if self._is_closing:
            return
        wanted = set(self._inboxes.topics())
        if wanted and self._sidecar.metadata.id:
            wanted.add(returned_topic(self._sidecar.metadata.id))
        for topic, subscription in self.subscriptions.items():
            if topic not in wanted:
                subscription.close()
        for topic in sorted(wanted - self.subscriptions.keys()):
            subscription = Subscription(topic, self._sidecar, self._pubsub)
            self.subscriptions[topic] = subscription
            self._nursery.start_soon(self._run, subscription)

    async def _run(self, subscription: Subscription) -> None:
        await subscription.run(self._take)
        if not self._is_closing:
            del self.subscriptions[subscription.topic]  # a topic that came back is followed anew
        self._changed.set()

    def _wake_all(self) -> None:
        self._changed.set()  # the sidecar's name may have become known
        for subscription in self.subscriptions.values():
            subscription.wake()

    async def _watch(self) -> None:
        """Look for streams that are deaf, hung or unlisted, and for inboxes that are full."""
        while True:
            await trio.sleep(TICK_S)
            overfull = self._inboxes.overfull()
            listed = self._listed()
            for subscription in list(self.subscriptions.values()):
                subscription.hold(overfull)
                session = subscription.session
                if session is not None and subscription.is_open:
                    self._look(subscription, session, listed)

    def _look(self, subscription: Subscription, session: Session, listed: set[str]) -> None:
        if subscription.topic in listed:
            session.is_listed = self._trusts_list = True
        now = trio.current_time()
        seen = Seen(
            open_s=now - session.opened_at,
            silent_s=now - session.last_at,
            awaited_s=now - subscription.awaited_since if subscription.awaited_since else 0.0,
            list_s=self._sidecar.metadata_at - session.opened_at,
            is_listed=subscription.topic in listed or not self._trusts_list,
            is_hung=session.has_collision,
            fruitless=subscription.fruitless,
        )
        why = why_deaf(seen, silence_s=self._silence_s)
        if why:
            subscription.fruitless += 1
            subscription.awaited_since = 0.0
            subscription.reopen(why)

    def _listed(self) -> set[str]:
        return {
            each.topic
            for each in self._sidecar.metadata.subscriptions
            if each.pubsub_name == self._pubsub
        }

    # -- deliveries --------------------------------------------------------------------------

    def _take(self, session: Session, request: TopicEventRequest | None) -> None:
        """Queue a delivery (None: the stream is open); called in readers' threads."""
        if request is None:
            self._call_soon(session.note_open)
            return
        self._arrived.append((session, request))
        if self._is_told:  # the loop has not looked yet: it will see this one, too
            return
        self._is_told = True
        self._call_soon(self._wake)

    def _call_soon(self, call: Callable[[], None]) -> None:
        with suppress(trio.RunFinishedError):
            assert self._token is not None  # noqa: S101 - readers start after `run`
            self._token.run_sync_soon(call)

    def _wake(self) -> None:
        self._news.set()

    async def _take_all(self) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            self._is_told = False  # before the look: what comes from now on wakes again
            bunch = self._sort()
            while bunch:
                tickets = await self._take_in(bunch)
                with trio.move_on_after(COMMIT_S):  # the next commit would wait for this one
                    for ticket in tickets:
                        await ticket.settled()
                if len(bunch) >= BUSY:
                    await self._gather()
                bunch = self._sort()

    async def _gather(self) -> None:
        """Let more come while they pour in: a bunch costs a look at the registry and a commit."""
        for _ in range(GATHER_STEPS):
            waiting = len(self._arrived)
            await trio.sleep(GATHER_STEP_S)
            if len(self._arrived) == waiting:
                return

    def _sort(self) -> list[Delivery]:
        """Take what has arrived off the queue, as events."""
        out: list[Delivery] = []
        while self._arrived and len(out) < BUNCH:
            session, request = self._arrived.popleft()
            session.took(request.id)
            self.received += 1
            subscription = session.subscription
            subscription.events += 1
            subscription.fruitless, subscription.awaited_since = 0, 0.0
            topic = self._origin(subscription, request)
            came = from_request(request)
            self.malformed += came.error is not None
            for finding in came.findings:
                self._note(topic, finding, came.event)
            out.append(Delivery(session, request.id, topic, came.event, came.error))
        return out

    def _origin(self, subscription: Subscription, request: TopicEventRequest) -> str:
        """Return the topic of a delivery, also of one that came back by another."""
        if subscription.topic != returned_topic(self._sidecar.metadata.id):
            return subscription.topic
        origin = origin_of(request)
        if not origin:
            log.error("returned_event_without_topic", data_bytes=len(request.data))
            return subscription.topic
        self.returned += 1
        request.topic = origin
        return origin

    def _note(self, topic: str, finding: Finding, event: Event) -> None:
        self.findings[finding] += 1
        if (topic, finding) not in self._told:
            self._told.add((topic, finding))
            log.warning("event_altered", topic=topic, finding=finding.value, source=event.source)

    async def _take_in(self, bunch: Sequence[Delivery], *, until: float = 0.0) -> Sequence[Ticket]:
        """Accept a bunch, to be answered aside once it is durable; returns what that waits for.

        *until*: when to give up on a store that refuses it; 0 at its first try.
        """
        claimed: Claimed | None = None
        if self.registry is not None:
            try:
                await self.registry.fresh(trio.current_time())
                claimed = await self._claim(bunch)
            except SidecarError as error:
                self._leave(bunch, str(error))
                return ()
        deadline = until or trio.current_time() + HOLD_S
        while True:
            try:
                tickets = self._inboxes.take_in(bunch, claimed.lost if claimed else ())
                break
            except StoreError as error:
                if trio.current_time() > deadline:
                    self._leave(bunch, str(error))
                    return ()
                await trio.sleep(RETRY_S)
        for topic in {delivery.topic for delivery in bunch}:
            self._stop_if_full(topic)
        self._nursery.start_soon(self._answer, bunch, tickets, deadline)
        if claimed is not None and self.claims is not None:
            self._nursery.start_soon(self._confirm, self.claims, claimed, tickets)
        return tickets

    async def _confirm(self, claims: Claimer, claimed: Claimed, tickets: Sequence[Ticket]) -> None:
        """Tell the other hosts that what this one has claimed is durable, once it is."""
        for ticket in tickets:
            await ticket.settled()
        if all(ticket.error is None for ticket in tickets):
            await claims.done(claimed.ours)

    async def _claim(self, bunch: Sequence[Delivery]) -> Claimed | None:
        """Claim what groups share with others; None where no group does.

        Raises:
            SidecarError: The state store does not answer.
        """
        wanted = [key for delivery in bunch for key in self._inboxes.claims_of(delivery)]
        if not wanted or self.claims is None:
            return None
        return await self.claims.take(self._sidecar.metadata.id, wanted)

    async def _answer(
        self, bunch: Sequence[Delivery], tickets: Sequence[Ticket], deadline: float
    ) -> None:
        try:
            for ticket in tickets:
                await ticket.wait()
        except StoreError as error:
            if trio.current_time() > deadline:
                self._leave(bunch, str(error))
            else:
                await trio.sleep(RETRY_S)
                await self._take_in(bunch, until=deadline)
            return
        for delivery in bunch:
            delivery.session.answer(delivery.answer_id)
            delivery.session.subscription.answered += 1
        self.answered += len(bunch)

    def _leave(self, bunch: Sequence[Delivery], error: str) -> None:
        """Answer none of *bunch*: its streams end, and the sidecar has it delivered again."""
        log.error("deliveries_not_kept", deliveries=len(bunch), error=error)
        for session in {delivery.session for delivery in bunch}:
            session.end()

    def _stop_if_full(self, topic: str) -> None:
        subscription = self.subscriptions.get(topic)
        if subscription is None:
            return
        for worker in self._inboxes.full_ones(topic):
            worker.blocks.add(subscription)
            subscription.blocked_by.add(worker)
        if subscription.blocked_by:
            subscription.wake()
