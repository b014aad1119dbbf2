"""The last lines that workers wrote, and those who follow them.

A line costs memory, not disk: the journal keeps what must last. A follower who reads too slowly
loses lines and is told how many; nobody waits for a reader.
"""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from workmanager.model.resources import LogLine
from workmanager.telemetry.tails import Audience, Follower
from workmanager.telemetry.tracing import trace_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor
    from workmanager.telemetry.tracing import Tracer

LINES_KEPT = 2000  # per worker
PACE_PER_TAIL_S = 0.01  # between two messages of a tail: 100 a second, however many follow
PACE_MIN_S = 0.02
PACE_MAX_S = 0.5
STREAMS = ("stdout", "stderr", "log", "supervisor")

log = structlog.get_logger("worker")
_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error"}


class LogBook:
    """Keeps lines per worker, numbered over all of them."""

    def __init__(self, *, echo: bool) -> None:
        self.is_echoed = echo
        self._lines: dict[str, deque[LogLine]] = {}
        self._next = 1
        self._audiences: dict[str | None, Audience] = {}  # by worker; None: of all workers
        self.total = 0
        self.tracer: Tracer | None = None

    def note(
        self,
        worker: WorkerDispatch,
        executor: Executor | None,
        stream: str,
        level: str,
        task: str,
        text: str,
    ) -> None:
        """Keep one line and hand it to those who follow."""
        trace_id, span_id = self._trace_of(executor, task) if executor and task else ("", "")
        line = LogLine(
            seq=self._next,
            time=datetime.now(UTC),
            worker=worker.name,
            executor=executor.id if executor else "",
            version=executor.version if executor else "",
            task=task,
            trace_id=trace_id,
            span_id=span_id,
            stream=stream if stream in STREAMS else "log",
            level=level if level in _LEVELS else "INFO",
            text=text,
        )
        self._next += 1
        self.total += 1
        self._lines.setdefault(worker.name, deque(maxlen=LINES_KEPT)).append(line)
        for followed in (worker.name, None):
            if followed in self._audiences:
                self._audiences[followed].tell(line)
        if self.is_echoed:
            emit = getattr(log, _LEVELS[line.level])
            emit("worker_line", **_facts(line))

    def forget(self, worker: str) -> None:
        """Drop a deleted worker's lines."""
        self._lines.pop(worker, None)

    def read(self, worker: str | None, *, since_seq: int = 0, tail: int = 100) -> list[LogLine]:
        """Return the last *tail* lines after *since_seq*, oldest first."""
        lines = sorted(self._of(worker), key=lambda line: line.seq)
        return [line for line in lines if line.seq > since_seq][-tail:] if tail > 0 else []

    @asynccontextmanager
    async def tail(self, worker: str | None, *, since_seq: int = 0) -> AsyncIterator[Follower]:
        """Follow the lines after *since_seq* in handfuls, kept ones first."""
        audience = self._audiences.setdefault(worker, Audience())
        audience.size += 1
        kept = self.read(worker, since_seq=since_seq, tail=LINES_KEPT)
        try:
            yield Follower(audience, kept, self._pace_s)
        finally:
            audience.size -= 1
            if not audience.size:
                del self._audiences[worker]

    def _pace_s(self) -> float:
        """Return the seconds to leave between two messages of one tail."""
        tails = sum(audience.size for audience in self._audiences.values())
        return min(PACE_MAX_S, max(PACE_MIN_S, PACE_PER_TAIL_S * tails))

    def _trace_of(self, executor: Executor, task: str) -> tuple[str, str]:
        """Return the trace and span of an attempt, else those that its event came with."""
        number = int(task, 16)
        ids = self.tracer.ids_of(number) if self.tracer is not None else None
        if ids is None:
            context = executor.recent_contexts.get(number)  # a line may come after its outcome
            if context is None:
                held = next((t for t in executor.hand.values() if t.number == number), None)
                context = held.event.attributes.get("traceparent") if held is not None else None
            ids = trace_of(context)
        return (f"{ids[0]:032x}", f"{ids[1]:016x}") if ids is not None else ("", "")

    def _of(self, worker: str | None) -> Iterable[LogLine]:
        if worker is not None:
            return self._lines.get(worker, ())
        return [line for lines in self._lines.values() for line in lines]


def _facts(line: LogLine) -> dict[str, str]:
    """What the service's own log says of a line that a worker wrote."""
    found = {
        "worker": line.worker,
        "executor": line.executor,
        "version": line.version,
        "task": line.task,
        "trace_id": line.trace_id,
        "span_id": line.span_id,
        "stream": line.stream,
        "text": line.text,
    }
    return {name: value for name, value in found.items() if value or name == "text"}
