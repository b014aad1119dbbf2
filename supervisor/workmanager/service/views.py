"""From what is kept in memory and in the store to what the API shows."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import trio

from workmanager.model.event import Event
from workmanager.model.resources import (
    Condition,
    ConditionType,
    DeadLetter,
    Executor,
    Task,
    TaskError,
    TaskUsage,
    Version,
    Worker,
    WorkerStatus,
)
from workmanager.model.states import TaskStatus, VersionState, WorkerState
from workmanager.service import cages, sidecars
from workmanager.telemetry.processes import usage_of

if TYPE_CHECKING:
    from workmanager.dispatch.task import Task as OpenTask
    from workmanager.executors.executor import Executor as LiveExecutor
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.store.queries import HistoryEntry
    from workmanager.store.rows import DeadLetterRow, VersionRow
    from workmanager.telemetry.processes import Usage

OUTLINE_BYTES = 64 * 1024  # dead letters above it are told to watchers without their data


def when(seconds: float) -> datetime:
    """Turn unix seconds into an aware UTC time."""
    return datetime.fromtimestamp(seconds, UTC)


def worker(keeper: Keeper) -> Worker:
    """Show a worker."""
    record = keeper.record
    return Worker.model_construct(
        name=record.name,
        uid=record.uid,
        etag=record.etag,
        generation=record.generation,
        labels=record.labels,
        annotations=record.annotations,
        created_at=when(record.created_at),
        updated_at=when(record.updated_at),
        spec=record.spec,
        desired_state=record.desired,
        status=status(keeper),
    )


def status(keeper: Keeper) -> WorkerStatus:
    """Show what is observed of a worker."""
    dispatch = keeper.dispatch
    counts = dispatch.counts
    return WorkerStatus.model_construct(
        state=keeper.state,
        conditions=conditions(keeper),
        current_version=keeper.record.current,
        candidate_version="",
        executors_ready=len(dispatch.ready_executors()),
        restarts=keeper.restarts,
        backlog=dispatch.backlog,
        backlog_bytes=dispatch.backlog_bytes,
        in_flight=sum(len(e.hand) for e in keeper.executors.values()),
        delayed=dispatch.inbox.delayed(),
        tasks_completed=counts["completed"],
        tasks_failed=counts["failed"],
        dead_letters=dispatch.dead_letters,
        last_event_time=when(dispatch.last_event_at) if dispatch.last_event_at else None,
        last_error=dispatch.last_error,
    )


def conditions(keeper: Keeper) -> list[Condition]:
    """Say why a worker is as it is."""
    since = when(keeper.since)
    dispatch = keeper.dispatch

    def condition(kind: ConditionType, *, holds: bool, reason: str, message: str = "") -> Condition:
        return Condition.model_construct(
            type=kind, status=holds, reason=reason, message=message, last_transition_time=since
        )

    ready = len(dispatch.ready_executors())
    wanted = keeper.record.spec.concurrency.executors
    has_topics = bool(keeper.record.spec.triggers)
    silent = sidecars.why_silent(keeper)
    listens = "NOT_LISTENING" if silent else "SUBSCRIBED"
    failed = keeper.state in (WorkerState.FAILED, WorkerState.BACKOFF)
    found = [
        condition(
            "CodeReady",
            holds=bool(keeper.record.current),
            reason="READY" if keeper.record.current else "NO_VERSION",
        ),
        condition(
            "Subscribed",
            holds=has_topics and not silent,
            reason=listens if has_topics else "NO_TRIGGER",
            message=silent if has_topics else "no topic; reach it with :invoke",
        ),
        condition(
            "ExecutorsReady",
            holds=ready >= wanted,
            reason="READY" if ready >= wanted else keeper.state.value,
            message=f"{ready} of {wanted}",
        ),
        condition(
            "Healthy",
            holds=not failed,
            reason="OK" if not failed else keeper.state.value,
            message=keeper.why if failed else "",
        ),
    ]
    isolated, level, message = cages.condition_of(dispatch.executors)
    found.append(condition("Isolated", holds=isolated, reason=level, message=message))
    if dispatch.lock is not None:
        reason = "HOLDING" if dispatch.lock.has_turn_of(dispatch) else "MEMBER"
        leases = dispatch.lock.leases
        error = leases.error if leases is not None else ""
        found.append(
            condition(
                "GroupReady",
                holds=not error,
                reason="LOCK_UNAVAILABLE" if error else reason,
                message=error,
            )
        )
    return found


def version(keeper: Keeper, row: VersionRow) -> Version:
    """Show a version."""
    return Version(
        id=row.id,
        worker=keeper.record.name,
        digest=row.digest,
        code_digest=row.code_digest,
        engine=row.engine,
        handler=row.handler,
        state=VersionState(row.state),
        size_bytes=row.size_bytes,
        created_at=when(row.created_at),
        message=row.message,
    )


def executor(live: LiveExecutor, usage: Usage | None = None) -> Executor:
    """Show an executor with what the kernel says of its process; looks itself without *usage*."""
    now = trio.current_time()
    return Executor(
        id=live.id,
        worker=live.worker,
        version=live.version,
        pid=live.pid,
        state=live.state,
        started_at=when(live.started_at),
        uptime_s=round(time.time() - live.started_at, 3),
        in_flight=len(live.hand),
        tasks_total=live.tasks_total,
        last_ping_s=round(now - live.last_pong_at, 3) if live.last_pong_at else None,
        isolation_level=live.room.level,
        isolation=live.layers,
        **asdict(usage or usage_of(live.inner_pid)),
    )


def open_task(keeper: Keeper, task: OpenTask) -> Task:
    """Show a task that is not settled."""
    executors = keeper.executors.values()
    holder = next((e for e in executors if any(t is task for t in e.hand.values())), None)
    return task_in(keeper, task, holder)


def task_in(keeper: Keeper, task: OpenTask, holder: LiveExecutor | None) -> Task:
    """Show a task that is not settled and is in the hands of *holder*; None: it waits."""
    attributes = task.event.attributes
    error = TaskError(type=task.error[0], message=task.error[1]) if task.error else None
    return Task(
        id=task.id,
        worker=keeper.record.name,
        status=TaskStatus.IN_PROGRESS if holder else TaskStatus.SCHEDULED,
        attempt=task.attempt + (1 if holder else 0),
        crashes=task.crashes,
        max_attempts=keeper.record.spec.retry.maximum_attempts,
        event_id=str(attributes["id"]),
        event_source=str(attributes["source"]),
        event_type=str(attributes["type"]),
        topic=task.event.topic,
        version=holder.version if holder else "",
        executor=holder.id if holder else "",
        scheduled_at=when(task.accepted_at),
        due_at=when(task.due_at) if task.due_at else None,
        fencing_token=task.fence,
        error=error,
    )


def settled_task(name: str, max_attempts: int, entry: HistoryEntry) -> Task:
    """Show a task of the history."""
    error = None
    if entry.error_type:
        error = TaskError(type=entry.error_type, message=entry.error_message)
    return Task(
        id=f"{entry.task_number:x}",
        worker=name,
        status=TaskStatus(entry.status),
        attempt=entry.attempt,
        crashes=entry.crashes,
        max_attempts=max_attempts,
        event_id=entry.event_id,
        event_source=entry.event_source,
        event_type=entry.event_type,
        topic=entry.topic,
        version=entry.version_id,
        executor=entry.executor_id,
        scheduled_at=when(entry.accepted_at),
        ended_at=when(entry.ended_at),
        duration_s=entry.duration_us / 1e6,
        outputs=entry.outputs,
        error=error,
        usage=_usage(entry),
    )


def _usage(entry: HistoryEntry) -> TaskUsage:
    return TaskUsage(
        cpu_s=entry.cpu_us / 1e6 if entry.cpu_us >= 0 else None,
        memory_peak_bytes=_known(entry.memory_peak_bytes),
        read_bytes=_known(entry.read_bytes),
        written_bytes=_known(entry.written_bytes),
    )


def _known(value: int) -> int | None:
    return value if value >= 0 else None


def dead_letter_outline(name: str, row: DeadLetterRow) -> DeadLetter:
    """Show a dead letter; the data of a large event is left out."""
    if len(row.wire) <= OUTLINE_BYTES:
        return dead_letter(name, row)
    event = Event(Event.unpack(row.wire).attributes)
    return dead_letter(name, replace(row, wire=event.pack()))


def dead_letter(name: str, row: DeadLetterRow) -> DeadLetter:
    """Show a dead letter with its event."""
    return DeadLetter(
        id=row.id,
        worker=name,
        task=f"{row.task_number:x}",
        reason=row.reason,
        error=TaskError(
            type=row.error_type, message=row.error_message, traceback=row.error_traceback
        ),
        attempts=row.attempts,
        crashes=row.crashes,
        version=row.version,
        topic=row.topic,
        event=Event.unpack(row.wire).to_json(),
        accepted_at=when(row.accepted_at),
        failed_at=when(row.failed_at),
    )
