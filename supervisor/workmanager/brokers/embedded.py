"""The embedded broker: which workers an event on a topic goes to.

It holds no events: publishing is accepting a delivery for each subscriber into the inboxes, in one
commit. A topic without filters and groups is a fixed list; only those who use them pay for them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workmanager.policy.filters import compile_filters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workmanager.dispatch.worker import WorkerDispatch

    Matches = Callable[[Mapping[str, object]], bool]


@dataclass(frozen=True, slots=True)
class Subscription:
    """One worker's trigger on a topic; *once* names the group that shares events, if any."""

    worker: WorkerDispatch
    matches: Matches | None
    once: str | None


class EmbeddedBroker:
    """Routes events to the workers of this host.

    Attributes:
        on_topics: Called when topics, or the workers of one, have changed.
        why_silent: Says why nothing can come on a topic; always "" where nobody else delivers.
    """

    def __init__(self) -> None:
        self._topics: dict[str, list[Subscription]] = {}
        self._plain: dict[str, list[WorkerDispatch]] = {}
        self.on_topics: Callable[[], None] = _nothing
        self.why_silent: Callable[[str], str] = _no_reason

    def subscribe(self, worker: WorkerDispatch) -> None:
        """Put the worker's triggers into force, in place of those it had."""
        self.unsubscribe(worker)
        group = worker.spec.group
        once = group.name if group is not None and group.delivery == "once" else None
        for trigger in worker.spec.triggers:
            subscription = Subscription(worker, compile_filters(trigger.filters), once)
            self._topics.setdefault(trigger.topic, []).append(subscription)
        self._index()

    def unsubscribe(self, worker: WorkerDispatch) -> None:
        """Take the worker off every topic."""
        for topic, subscriptions in list(self._topics.items()):
            rest = [s for s in subscriptions if s.worker is not worker]
            if rest:
                self._topics[topic] = rest
            else:
                del self._topics[topic]
        self._index()

    def topics(self) -> dict[str, int]:
        """Return the topics and how many workers consume each."""
        return {topic: len(subscriptions) for topic, subscriptions in self._topics.items()}

    def consumers(self, topic: str) -> list[str]:
        """Return the names of the workers with a trigger on *topic*."""
        return sorted({s.worker.name for s in self._topics.get(topic, ())})

    def workers(self, topic: str) -> list[WorkerDispatch]:
        """Return the workers with a trigger on *topic*, each once."""
        return list(dict.fromkeys(s.worker for s in self._topics.get(topic, ())))

    def claiming(self, topic: str) -> set[str]:
        """Return the groups that share the topic's events with all hosts and applications."""
        groups = (s.worker.spec.group for s in self._topics.get(topic, ()))
        return {group.name for group in groups if group is not None and group.is_claiming}

    def fixed(self, topic: str) -> Sequence[WorkerDispatch] | None:
        """Return the topic's workers if every event goes to all of them; else None: ask `route`."""
        plain = self._plain.get(topic)
        if plain is None and topic not in self._topics:
            return ()
        return plain

    def route(self, topic: str, attributes: Mapping[str, object]) -> Sequence[WorkerDispatch]:
        """Return the workers that get this event; one of each group that shares events."""
        plain = self._plain.get(topic)
        if plain is not None:
            return plain
        chosen: list[WorkerDispatch] = []
        shared: dict[str, list[WorkerDispatch]] = {}
        for subscription in self._topics.get(topic, ()):
            if subscription.matches is not None and not subscription.matches(attributes):
                continue
            if subscription.once is None:
                chosen.append(subscription.worker)
            else:
                shared.setdefault(subscription.once, []).append(subscription.worker)
        chosen += [_one_of(members, attributes) for members in shared.values()]
        return chosen

    def _index(self) -> None:
        self._plain = {
            topic: [s.worker for s in subscriptions]
            for topic, subscriptions in self._topics.items()
            if all(s.matches is None and s.once is None for s in subscriptions)
        }
        self.on_topics()


def _nothing() -> None:
    return None


def _no_reason(_topic: str) -> str:
    return ""


def _one_of(members: list[WorkerDispatch], attributes: Mapping[str, object]) -> WorkerDispatch:
    """Choose a member: sticky by partition key, else the least busy; running ones first."""
    able = [m for m in members if m.is_open and m.executors] or members
    if len(able) == 1:
        return able[0]
    key = attributes.get("partitionkey")
    if isinstance(key, str):
        return able[zlib.crc32(key.encode()) % len(able)]
    chosen = min(able, key=lambda member: member.backlog + member.assigned)
    chosen.assigned += 1
    return chosen
