"""Events, tasks and dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from workmanager.client.call import Call, Method, get, post
from workmanager.client.events import BATCH_MEDIA_TYPE, EVENT_MEDIA_TYPE, new_event

if TYPE_CHECKING:
    from workmanager.model.resources import (
        DeadLetter,
        InvokeResult,
        Operation,
        Page,
        PublishResult,
        RedriveResult,
        Task,
    )

INVOKE_MARGIN_S = 5.0  # a synchronous invoke answers at its own time limit; wait a little longer

EventJson = Mapping[str, Any]


class EventCalls:
    """Events, tasks and dead letters."""

    @Method
    def publish(self, topic: str, events: EventJson | Sequence[EventJson]) -> Call[PublishResult]:
        """Deliver one event or several (CloudEvents JSON format) to every worker on *topic*.

        Returns after the commit: either all are in, or the call failed and none is. Events without
        an id get one here, so that a lost answer can be asked for again: the workers know an event
        by its source and id.
        """
        given = [events] if isinstance(events, Mapping) else events
        batch = [event if event.get("id") else new_event() | dict(event) for event in given]
        return Call(
            "PublishBatch",
            "POST",
            "/v1/topics/{topic}:publish",
            {"topic": topic, "events": batch},
            body="events",
            content_type=BATCH_MEDIA_TYPE,
        )

    @Method
    def invoke(
        self,
        ref: str,
        event: EventJson,
        *,
        mode: Literal["sync", "async", "dryRun"] = "sync",
        version: str = "",
        timeout_s: float = 30.0,
        key: str = "",
    ) -> Call[InvokeResult]:
        """Hand one event to one worker; `dryRun` runs the code and publishes and keeps nothing.

        A lost answer is asked for again only with an idempotency *key*: the service then answers as
        it did the first time. Without one the code could run twice.
        """
        fields = {"worker": ref, "event": event, "mode": mode, "version": version}
        return Call(
            "Invoke",
            "POST",
            "/v1/workers/{worker}:invoke",
            {**fields, "timeoutS": timeout_s},
            body="event",
            content_type=EVENT_MEDIA_TYPE,
            key=key,
            may_repeat=bool(key),
            timeout_s=timeout_s + INVOKE_MARGIN_S,
        )

    @Method
    def list_tasks(
        self, *, worker: str = "", status: str = "", page_size: int = 0, page_token: str = ""
    ) -> Call[Page[Task]]:
        """Return a page of tasks, newest first."""
        return get(
            "ListTasks",
            "/v1/tasks",
            worker=worker,
            status=status,
            page_size=page_size or None,
            page_token=page_token,
        )

    @Method
    def get_task(self, task: str) -> Call[Task]:
        """Return one task."""
        return get("GetTask", "/v1/tasks/{task}", task=task)

    @Method
    def cancel_task(self, task: str) -> Call[Task]:
        """Cancel a task that is not settled; an attempt under way is told, then killed."""
        return post("CancelTask", "/v1/tasks/{task}:cancel", task=task)

    @Method
    def retry_task(self, task: str) -> Call[Task]:
        """Hand a delayed or failed task out again now."""
        return post("RetryTask", "/v1/tasks/{task}:retry", task=task)

    @Method
    def list_dead_letters(
        self,
        *,
        worker: str = "",
        reason: str = "",
        error_type: str = "",
        event_type: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> Call[Page[DeadLetter]]:
        """Return a page of dead letters, newest first."""
        return get(
            "ListDeadLetters",
            "/v1/deadLetters",
            worker=worker,
            reason=reason,
            error_type=error_type,
            event_type=event_type,
            page_size=page_size or None,
            page_token=page_token,
        )

    @Method
    def get_dead_letter(self, dead_letter: str) -> Call[DeadLetter]:
        """Return one dead letter with its event."""
        return get("GetDeadLetter", "/v1/deadLetters/{letter}", letter=dead_letter)

    @Method
    def redrive(
        self,
        *,
        ids: Sequence[str] = (),
        worker: str = "",
        reason: str = "",
        error_type: str = "",
        event_type: str = "",
        target_version: str = "",
        max_rate: float | None = None,
    ) -> Call[Operation]:
        """Put dead letters back into their workers' inboxes, at most *max_rate* a second."""
        return post(
            "Redrive",
            "/v1/deadLetters:redrive",
            "*",
            ids=list(ids) or None,
            worker=worker,
            reason=reason,
            error_type=error_type,
            event_type=event_type,
            target_version=target_version,
            max_rate=max_rate,
        )

    @Method
    def purge_dead_letters(
        self,
        *,
        ids: Sequence[str] = (),
        worker: str = "",
        reason: str = "",
        error_type: str = "",
        event_type: str = "",
    ) -> Call[RedriveResult]:
        """Delete dead letters for good."""
        return post(
            "PurgeDeadLetters",
            "/v1/deadLetters:purge",
            "*",
            ids=list(ids) or None,
            worker=worker,
            reason=reason,
            error_type=error_type,
            event_type=event_type,
        )
