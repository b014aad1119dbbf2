"""Topics behind a Dapr sidecar: Redis streams with consumer groups, or the in-memory bus.

Redis streams are shared by all sidecars; each sidecar has one queue and a fixed number of slots
per component, as pubsub.redis has. The in-memory bus belongs to one sidecar.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Settings:
    """The component's metadata, with the names and defaults of pubsub.redis."""

    concurrency: int = 10
    queue_depth: int = 100
    processing_timeout_s: float = 60.0
    redeliver_interval_s: float = 15.0
    is_shuffled: bool = False  # as with a real one: its slots hand out in any order


@dataclass(frozen=True, slots=True)
class Message:
    """What lies in a topic."""

    number: int
    data: bytes
    metadata: dict[str, str] = field(default_factory=dict)


class Subscriber(Protocol):
    """A subscription as the component sees it: a handler with a context."""

    @property
    def keeps_pending(self) -> bool:
        """Whether what fails now is left unacknowledged."""
        ...

    async def handle(self, message: Message) -> bool:
        """Have *message* handled; return False when the component got an error."""
        ...


@dataclass(slots=True)
class Group:
    """A consumer group of a stream: where it stands and what it has not acknowledged."""

    position: int = 0
    pending: dict[int, float] = field(default_factory=dict)  # message number -> when delivered


@dataclass(slots=True)
class Stream:
    """One Redis stream."""

    messages: list[Message] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, data: bytes, metadata: dict[str, str]) -> None:
        self.messages.append(Message(len(self.messages), data, metadata))
        self.grown.set()
        self.grown = asyncio.Event()

    def read(self, group: Group, count: int) -> list[Message]:
        fresh = self.messages[group.position : group.position + count]
        group.position += len(fresh)
        group.pending.update((message.number, time.monotonic()) for message in fresh)
        return fresh

    def claim(self, group: Group, idle_s: float) -> list[Message]:
        now = time.monotonic()
        stale = [number for number, since in group.pending.items() if now - since >= idle_s]
        group.pending.update((number, now) for number in stale)
        return [self.messages[number] for number in stale]


@dataclass(slots=True)
class Streams:
    """All streams of a Redis server, by (component, topic)."""

    by_topic: dict[tuple[str, str], Stream] = field(default_factory=dict)

    def stream(self, pubsub: str, topic: str) -> Stream:
        return self.by_topic.setdefault((pubsub, topic), Stream())


class RedisComponent:
    """pubsub.redis in one sidecar: a queue, slots, and two loops for each subscription."""

    kind = "pubsub.redis"

    def __init__(self, name: str, streams: Streams, *, settings: Settings, consumer: str) -> None:
        self.name = name
        self.is_flowing = asyncio.Event()
        self.is_flowing.set()
        self.duplicates = 0
        self.closed_at = float("-inf")  # when a subscription last was
        self._streams = streams
        self._settings = settings
        self._consumer = consumer
        self._queue: asyncio.Queue[tuple[Subscriber, str, Message]] = asyncio.Queue(
            settings.queue_depth
        )
        self._slots = [asyncio.create_task(self._work()) for _ in range(settings.concurrency)]

    async def publish(self, topic: str, data: bytes, metadata: dict[str, str]) -> None:
        self._streams.stream(self.name, topic).add(data, metadata)

    def subscribe(self, topic: str, subscriber: Subscriber) -> list[asyncio.Task[None]]:
        stream = self._streams.stream(self.name, topic)
        stream.groups.setdefault(self._consumer, Group())
        return [
            asyncio.create_task(self._poll(topic, subscriber)),
            asyncio.create_task(self._reclaim(topic, subscriber)),
        ]

    def unsubscribe(self, topic: str, subscriber: Subscriber) -> None:
        """Nothing: the loops are cancelled, what they have read stays pending."""

    def close(self) -> None:
        for slot in self._slots:
            slot.cancel()

    async def _poll(self, topic: str, subscriber: Subscriber) -> None:
        stream = self._streams.stream(self.name, topic)
        group = stream.groups[self._consumer]
        while True:
            await self.is_flowing.wait()
            grown = stream.grown
            fresh = stream.read(group, self._settings.queue_depth)
            if self._settings.is_shuffled:
                random.shuffle(fresh)
            for message in fresh:
                await self._queue.put((subscriber, topic, message))
            if not fresh:
                await grown.wait()

    async def _reclaim(self, topic: str, subscriber: Subscriber) -> None:
        stream = self._streams.stream(self.name, topic)
        group = stream.groups[self._consumer]
        while True:
            for message in stream.claim(group, self._settings.processing_timeout_s):
                await self._queue.put((subscriber, topic, message))
            await asyncio.sleep(self._settings.redeliver_interval_s)

    async def _work(self) -> None:
        while True:
            subscriber, topic, message = await self._queue.get()
            await self.is_flowing.wait()
            started = time.monotonic()
            is_handled = await subscriber.handle(message)
            is_late = time.monotonic() - started >= self._settings.processing_timeout_s
            if is_handled or not (subscriber.keeps_pending or is_late):
                # since components-contrib 1.17 an error is acknowledged too: the message is gone
                group = self._streams.stream(self.name, topic).groups[self._consumer]
                group.pending.pop(message.number, None)
            if self.duplicates and is_handled:
                self.duplicates -= 1
                await self._queue.put((subscriber, topic, message))


class MemoryComponent:
    """pubsub.in-memory: each subscription gets a copy, one at a time; publishing waits for it."""

    kind = "pubsub.in-memory"

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_flowing = asyncio.Event()
        self.is_flowing.set()
        self.duplicates = 0
        self.closed_at = float("-inf")  # when a subscription last was
        self._subscribers: dict[str, list[tuple[Subscriber, asyncio.Lock]]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._published = 0

    async def publish(self, topic: str, data: bytes, metadata: dict[str, str]) -> None:
        message = Message(self._published, data, metadata)
        self._published += 1
        for subscriber, turn in list(self._subscribers.get(topic, ())):
            await turn.acquire()  # until it has handled its previous message
            task = asyncio.create_task(self._deliver(subscriber, turn, message))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def subscribe(self, topic: str, subscriber: Subscriber) -> list[asyncio.Task[None]]:
        self._subscribers.setdefault(topic, []).append((subscriber, asyncio.Lock()))
        return []

    def unsubscribe(self, topic: str, subscriber: Subscriber) -> None:
        others = [pair for pair in self._subscribers.get(topic, ()) if pair[0] is not subscriber]
        self._subscribers[topic] = others

    def close(self) -> None:
        for task in list(self._running):
            task.cancel()

    async def _deliver(self, subscriber: Subscriber, turn: asyncio.Lock, message: Message) -> None:
        try:
            await self.is_flowing.wait()
            await subscriber.handle(message)
            if self.duplicates:
                self.duplicates -= 1
                await subscriber.handle(message)
        finally:
            turn.release()


Component = RedisComponent | MemoryComponent
