"""The calls about events: publish to a topic, invoke a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import trio

from workmanager.dispatch import intake
from workmanager.dispatch.handout import pump
from workmanager.dispatch.task import StoredEvent, Waiter
from workmanager.errors import (
    ConflictError,
    Fault,
    InvalidArgumentError,
    NotFoundError,
    Reason,
    TaskTimeoutError,
    WorkerFailedError,
)
from workmanager.model.event import Event
from workmanager.model.names import is_topic
from workmanager.model.resources import InvokeResult, TaskError
from workmanager.model.states import DesiredState, TaskStatus, WorkerState
from workmanager.service.base import Calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.dispatch.outcome import Settled
    from workmanager.dispatch.task import Task
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.model.resources import PublishResult

_SERVABLE = frozenset({WorkerState.RUNNING, WorkerState.STARTING, WorkerState.BACKOFF})


class EventCalls(Calls):
    """Publish and invoke."""

    def consumers(self, topic: str) -> list[str]:
        """Return the names of the workers that consume *topic*."""
        return self._sup.core.broker.consumers(topic)

    async def publish(self, topic: str, events: Sequence[Event]) -> PublishResult:
        """Deliver *events* to every worker on *topic*; returns once they are durable."""
        if not is_topic(topic):
            detail = "must be 1 to 249 letters, digits, '.', '_', '-' or '/'"
            raise InvalidArgumentError(f"topic {detail}", faults=[Fault("topic", detail)])
        return await intake.publish(self._sup.core, topic, events)

    async def invoke(
        self,
        ref: str,
        event: Event,
        *,
        mode: Literal["sync", "async", "dryRun"],
        version: str | None = None,
        timeout_s: float = 30.0,
    ) -> InvokeResult:
        """Hand one event to one worker.

        `sync` waits for the outcome of a single attempt, `async` answers once the task is durable
        and retries like any other, `dryRun` runs the handler and keeps and publishes nothing.

        Raises:
            WorkerFailedError: The handler raised (sync and dryRun).
            TaskTimeoutError: No outcome within *timeout_s*; the task itself goes on.
            ConflictError: The worker does not run (sync and dryRun).
        """
        keeper = self._keeper(ref)
        asked = self._asked_version(keeper, version)
        stored = StoredEvent("", event.pack(), event.attributes)
        if mode == "async":
            task = await intake.submit(
                self._sup.core, keeper.dispatch, stored, prepare=lambda t: _ask_for(t, asked)
            )
            return InvokeResult(task=task.id, status=TaskStatus.SCHEDULED)
        if keeper.record.desired is not DesiredState.RUNNING or keeper.state not in _SERVABLE:
            raise ConflictError(
                f"worker {keeper.record.name!r} is {keeper.state.value}; start it, or use"
                " mode=async",
                metadata={"worker": keeper.record.name, "state": keeper.state.value},
            )
        call = _Call()
        if mode == "sync":
            task = await intake.submit(
                self._sup.core, keeper.dispatch, stored, prepare=lambda t: call.on(t, asked)
            )
        else:
            task = self._rehearse(keeper, stored, call)
        return await call.result(task, timeout_s)

    def _rehearse(self, keeper: Keeper, stored: StoredEvent, call: _Call) -> Task:
        task = intake.rehearse(keeper.dispatch, stored)
        call.on(task, "")
        pump(self._sup.core, keeper.dispatch)
        return task

    def _asked_version(self, keeper: Keeper, version: str | None) -> str:
        if not version or version == keeper.record.current:
            return ""
        if version not in keeper.record.versions:
            raise NotFoundError(
                f"worker {keeper.record.name!r} has no version {version!r}",
                reason=Reason.VERSION_NOT_FOUND,
            )
        return version


class _Call:
    """Waits for one task's outcome."""

    def __init__(self) -> None:
        self._settled: Settled | None = None
        self._done = trio.Event()

    def on(self, task: Task, version: str) -> None:
        _ask_for(task, version)
        task.single_shot = True
        task.waiter = Waiter(self._take)

    async def result(self, task: Task, timeout_s: float) -> InvokeResult:
        with trio.move_on_after(timeout_s):
            await self._done.wait()
        settled = self._settled
        if settled is None:
            task.waiter = None
            raise TaskTimeoutError(
                f"no outcome within {timeout_s:g} s; the task goes on as {task.id}",
                metadata={"task": task.id},
            )
        failure = settled.failure
        if settled.status is TaskStatus.TIMED_OUT and failure is not None:
            raise TaskTimeoutError(failure.message, metadata={"task": task.id})
        if failure is not None and settled.status is not TaskStatus.SKIPPED:
            raise WorkerFailedError(
                f"{failure.type}: {failure.message}",
                metadata={
                    "task": task.id,
                    "status": settled.status.value,
                    "errorType": failure.type,
                    "traceback": failure.traceback,
                },
            )
        return InvokeResult(
            task=task.id,
            status=settled.status,
            outputs=[Event.unpack(event.wire).to_json() for event in settled.outputs],
            duration_s=settled.duration_us / 1e6,
            error=TaskError(type=failure.type, message=failure.message) if failure else None,
        )

    def _take(self, settled: Settled) -> None:
        self._settled = settled
        self._done.set()


def _ask_for(task: Task, version: str) -> None:
    task.asked_version = version
