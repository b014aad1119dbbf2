"""Traces: what becomes of a sampled task, as OpenTelemetry spans.

    publisher's span                      (the event's `traceparent`)
      receive TOPIC                       accepted -> first handed to an executor
        process TOPIC                     one for each attempt; user code sees its context
          send                            where the attempt had outputs; they carry its context

It is decided by the event's `traceparent` and the task's number whether a task is traced, before
anything is made for it; the others cost that decision. What is traced costs a few small objects in
the loop; spans are made and sent by a thread of their own, see `exporting`.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

import msgpack

from workmanager.policy.sampling import decide, format_traceparent, parse_traceparent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workmanager.dispatch.task import Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor
    from workmanager.policy.sampling import Sampler

RECENT_KEPT = 4096  # traced tasks that have ended, whose late log lines still find their trace
OK = 0  # status of an outcome frame
SALT = 0x5851F42D4C957F2D

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class Attempt:
    """A traced attempt that runs."""

    __slots__ = ("begun_ns", "parent_id", "receive_id", "span_id", "task", "trace_id")

    def __init__(self, task: Task, trace_id: int, parent_id: int, span_id: int) -> None:
        self.task = task
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.receive_id = (task.number * SALT ^ trace_id) & (2**64 - 1) or 1
        self.span_id = span_id
        self.begun_ns = time.time_ns()


class Span:
    """What a span is made of, once it has ended; ids are numbers, 0 for no parent."""

    __slots__ = (
        "attributes", "end_ns", "error", "is_output", "name", "parent_id", "span_id", "start_ns",
        "state", "trace_id",
    )  # fmt: skip

    def __init__(self, attempt: Attempt, name: str, *, span_id: int, parent_id: int) -> None:
        self.name = name
        self.trace_id = attempt.trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.state = str(attempt.task.event.attributes.get("tracestate", ""))
        self.start_ns = self.end_ns = 0
        self.attributes: dict[str, str | int] = {}
        self.error: Sequence[Any] | None = None
        self.is_output = False


class Sink(Protocol):
    """Gets the spans that have ended; nothing of it blocks.

    While it is full none are made, for they would be lost, and making them costs.
    """

    @property
    def is_full(self) -> bool:
        """Whether spans would be lost now."""

    def take(self, spans: list[Span]) -> None:
        """Take *spans*."""

    def lose(self, count: int) -> None:
        """Count spans that were not made."""


class Tracer:
    """Follows traced attempts; owned by the trio loop."""

    def __init__(self, sampler: Sampler, sink: Sink) -> None:
        self._sampler = sampler
        self._sink = sink
        self._take = sink.take
        self._open: dict[int, Attempt] = {}  # by task number
        self._recent: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._ids = random.Random().getrandbits  # noqa: S311 - ids, not secrets

    def begin(self, tasks: Iterable[Task]) -> Mapping[int, bytes]:
        """Note those of *tasks* that are traced, as they are handed to an executor.

        Returns:
            The event to hand over in place of the task's own, by task number: it has the context
            of the attempt's span.
        """
        wires: dict[int, bytes] = {}
        sampler, is_full = self._sampler, self._sink.is_full
        for task in tasks:
            attributes = task.event.attributes
            found = decide(sampler, attributes.get("traceparent"), task.number)
            if found is None:
                continue
            if is_full:
                self._sink.lose(1 if task.attempt or task.crashes else 2)
                continue
            attempt = Attempt(task, *found, self._ids(64) or 1)
            self._open[task.number] = attempt
            context = format_traceparent(attempt.trace_id, attempt.span_id)
            data = msgpack.unpackb(task.event.wire, raw=False)[1]
            wires[task.number] = _pack(({**attributes, "traceparent": context}, data))
        return wires

    def settle(
        self,
        worker: WorkerDispatch,
        executor: Executor,
        outcomes: Iterable[Sequence[Any]],
    ) -> Mapping[int, str]:
        """End the spans of answered attempts, before the tasks leave the executor's hand.

        Returns:
            The `traceparent` of their outputs, by task number.
        """
        contexts: dict[int, str] = {}
        spans: list[Span] = []
        if self._open:
            hand = executor.hand
            for no, status, duration_us, proposals, error in outcomes:
                attempt = self._open.pop(hand[no].number, None)
                if attempt is None:
                    continue
                end_ns = time.time_ns()
                begun_ns = max(attempt.begun_ns, end_ns - duration_us * 1000)
                problem = None if status == OK else error or ["Error", ""]
                self._end(spans, worker, executor, attempt, begun_ns, end_ns, problem)
                if proposals:
                    span = self._send(worker, attempt, end_ns, len(proposals))
                    spans.append(span)
                    contexts[attempt.task.number] = format_traceparent(span.trace_id, span.span_id)
        if spans:
            self._take(spans)
        return contexts

    def lost(
        self,
        worker: WorkerDispatch,
        executor: Executor,
        tasks: Iterable[Task],
        *,
        error: tuple[str, str] | None = None,
    ) -> None:
        """End the spans of attempts whose outcome does not count: the executor has died, mostly."""
        how = executor.exit.words if executor.exit is not None else "gone"
        error = error or ("ExecutorLost", f"the executor {how}")
        spans: list[Span] = []
        now_ns = time.time_ns()
        for task in tasks:
            attempt = self._open.pop(task.number, None)
            if attempt is not None:
                self._end(spans, worker, executor, attempt, attempt.begun_ns, now_ns, error)
        if spans:
            self._take(spans)

    def ids_of(self, task_number: int) -> tuple[int, int] | None:
        """Return the trace and the span of a task that runs or ran lately; None: not traced."""
        attempt = self._open.get(task_number)
        if attempt is not None:
            return attempt.trace_id, attempt.span_id
        return self._recent.get(task_number)

    def _end(
        self,
        spans: list[Span],
        worker: WorkerDispatch,
        executor: Executor,
        attempt: Attempt,
        begun_ns: int,
        end_ns: int,
        error: Sequence[Any] | None,
    ) -> None:
        task, topic = attempt.task, attempt.task.event.topic or worker.name
        if not task.attempt and not task.crashes:
            span = Span(
                attempt, f"receive {topic}",
                span_id=attempt.receive_id, parent_id=attempt.parent_id,
            )  # fmt: skip
            span.start_ns = round(task.accepted_at * 1e9)
            span.end_ns = max(span.start_ns, min(attempt.begun_ns, begun_ns))
            span.attributes = {**_message(worker, task, "receive")}
            spans.append(span)
        span = Span(
            attempt, f"process {topic}", span_id=attempt.span_id, parent_id=attempt.receive_id
        )
        span.start_ns, span.end_ns = begun_ns, end_ns
        span.attributes = {**_message(worker, task, "process"), **_attempt(executor, task)}
        span.error = error
        spans.append(span)
        self._recent[task.number] = attempt.trace_id, attempt.span_id
        if len(self._recent) > RECENT_KEPT:
            self._recent.popitem(last=False)

    def _send(self, worker: WorkerDispatch, attempt: Attempt, at_ns: int, count: int) -> Span:
        topic = worker.spec.outputs.topic
        span = Span(
            attempt, f"send {topic}".rstrip(),
            span_id=self._ids(64) or 1, parent_id=attempt.span_id,
        )  # fmt: skip
        span.start_ns = span.end_ns = at_ns
        span.is_output = True
        span.attributes = {
            "messaging.system": "workmanager",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
            "messaging.batch.message_count": count,
            "workmanager.worker": worker.name,
            "workmanager.task": attempt.task.id,
        }
        return span


def trace_of(traceparent: object) -> tuple[int, int] | None:
    """Return the trace and the span that an event's attribute names; None where it names none."""
    parsed = parse_traceparent(traceparent) if traceparent is not None else None
    return (parsed[0], parsed[1]) if parsed is not None else None


def _message(worker: WorkerDispatch, task: Task, operation: str) -> dict[str, str | int]:
    """Say what was handled (OpenTelemetry semantic conventions for messaging and CloudEvents)."""
    attributes = task.event.attributes
    found: dict[str, str | int] = {
        "messaging.system": "workmanager",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": task.event.topic,
        "messaging.message.id": str(attributes["id"]),
        "messaging.consumer.group.name": worker.name,
        "cloudevents.event_id": str(attributes["id"]),
        "cloudevents.event_source": str(attributes["source"]),
        "cloudevents.event_type": str(attributes["type"]),
        "workmanager.worker": worker.name,
        "workmanager.task": task.id,
    }
    if attributes.get("subject"):
        found["cloudevents.event_subject"] = str(attributes["subject"])
    return found


def _attempt(executor: Executor, task: Task) -> dict[str, str | int]:
    return {
        "messaging.message.body.size": len(task.event.wire),
        "faas.name": executor.worker,
        "faas.version": executor.version,
        "faas.instance": executor.id,
        "faas.trigger": "pubsub",
        "workmanager.attempt": task.attempt + 1,
    }
