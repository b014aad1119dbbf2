"""What the API asks of the service: every call of REST, gRPC and the command line lands here.

The doors know this protocol only, so mypy checks both sides of it. A `ref` is a worker's name or
its uid. Every method may raise subclasses of `WorkManagerError`, nothing else on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    import trio

    from workmanager.model.access import (
        AccessKey,
        Application,
        ApplicationSpec,
        AuditEntry,
        IssuedKey,
        NewAccessKey,
        NewApplication,
    )
    from workmanager.model.event import Event
    from workmanager.model.resources import (
        ApplyResult,
        DeadLetter,
        Diff,
        Engine,
        Executor,
        Explanation,
        Group,
        Health,
        InvokeResult,
        LogLine,
        Operation,
        Page,
        PublishResult,
        RedriveResult,
        Task,
        Version,
        Worker,
    )
    from workmanager.model.states import TaskStatus
    from workmanager.telemetry.changes import Change
    from workmanager.telemetry.tails import Handful

Json = Mapping[str, object]
InvokeMode = Literal["sync", "async", "dryRun"]


class WorkerCalls(Protocol):
    """Workers, their versions and their executors."""

    async def create_worker(self, manifest: Json, *, start: bool = True) -> Worker:
        """Create a worker from a manifest or a seed form; its name must be free."""

    async def apply_worker(
        self,
        name: str | None,
        manifest: Json,
        *,
        if_match: str | None = None,
        dry_run: bool = False,
    ) -> ApplyResult:
        """Create the worker or change it to what *manifest* says."""

    async def patch_worker(
        self, ref: str, merge_patch: Json, *, if_match: str | None = None
    ) -> ApplyResult:
        """Apply a JSON merge patch (RFC 7396) to the worker's manifest."""

    async def get_worker(self, ref: str) -> Worker:
        """Return one worker."""

    async def list_workers(
        self,
        *,
        filter: str = "",  # noqa: A002 - the name on the wire (AIP-160)
        order_by: str = "",
        page_size: int = 50,
        page_token: str = "",
    ) -> Page[Worker]:
        """Return a page of workers."""

    async def delete_worker(
        self, ref: str, *, drain: bool = True, if_match: str | None = None
    ) -> Operation:
        """Stop the worker and forget it with its inbox."""

    async def start_worker(self, ref: str) -> Worker:
        """Ask for RUNNING; clears FAILED."""

    async def stop_worker(self, ref: str) -> Worker:
        """Ask for STOPPED; the inbox keeps filling."""

    async def pause_worker(self, ref: str) -> Worker:
        """Ask for PAUSED: executors stay warm, nothing is handed out."""

    async def resume_worker(self, ref: str) -> Worker:
        """Ask for RUNNING after a pause."""

    async def restart_worker(self, ref: str) -> Worker:
        """Replace the executors by new ones of the same version."""

    async def rollback_worker(
        self, ref: str, *, version: str | None = None, message: str = ""
    ) -> Operation:
        """Make an earlier version current; None is the one before the current."""

    async def explain_worker(self, ref: str) -> Explanation:
        """Say in one sentence why the worker is or is not processing."""

    async def diff_worker(self, name: str, manifest: Json) -> Diff:
        """Say what an apply of *manifest* would change."""

    async def recover(self) -> Operation:
        """Run the recovery of all workers again."""

    async def create_version(
        self, ref: str, content: bytes, media_type: str, *, promote: bool = True
    ) -> Version:
        """Make a version of new code; *promote* swaps it in while events flow."""

    async def list_versions(
        self, ref: str, *, page_size: int = 50, page_token: str = ""
    ) -> Page[Version]:
        """Return a page of a worker's versions, newest first."""

    async def get_version(self, ref: str, version: str) -> Version:
        """Return one version."""

    async def promote_version(self, ref: str, version: str) -> Operation:
        """Make a version current."""

    async def delete_version(self, ref: str, version: str) -> None:
        """Forget a version that is not in use."""

    async def get_code(self, ref: str, version: str | None = None) -> tuple[bytes, str]:
        """Return the code of a version (None: the current) and its media type."""

    async def list_executors(self, worker: str | None = None) -> Page[Executor]:
        """Return the executors of one worker or of all."""


class EventCalls(Protocol):
    """Events, tasks and dead letters."""

    async def publish(self, topic: str, events: Sequence[Event]) -> PublishResult:
        """Deliver *events* to every worker on *topic*; returns after the commit."""

    async def invoke(
        self,
        ref: str,
        event: Event,
        *,
        mode: InvokeMode,
        version: str | None = None,
        timeout_s: float = 30.0,
    ) -> InvokeResult:
        """Hand one event to one worker."""

    async def list_tasks(
        self,
        *,
        worker: str | None = None,
        status: TaskStatus | None = None,
        page_size: int = 50,
        page_token: str = "",
    ) -> Page[Task]:
        """Return a page of tasks, newest first."""

    async def get_task(self, task: str) -> Task:
        """Return one task."""

    async def cancel_task(self, task: str) -> Task:
        """Cancel a task that is not settled."""

    async def retry_task(self, task: str) -> Task:
        """Hand a delayed or failed task out again now."""

    async def list_dead_letters(
        self,
        *,
        worker: str | None = None,
        reason: str | None = None,
        error_type: str | None = None,
        event_type: str | None = None,
        page_size: int = 50,
        page_token: str = "",
    ) -> Page[DeadLetter]:
        """Return a page of dead letters, newest first."""

    async def get_dead_letter(self, dead_letter: str) -> DeadLetter:
        """Return one dead letter with its event."""

    async def redrive(
        self,
        *,
        ids: Sequence[str] | None = None,
        worker: str | None = None,
        reason: str | None = None,
        error_type: str | None = None,
        event_type: str | None = None,
        target_version: str | None = None,
        max_rate: float | None = None,
    ) -> Operation:
        """Put dead letters back into their workers' inboxes, at most *max_rate* a second."""

    async def purge_dead_letters(
        self,
        *,
        ids: Sequence[str] | None = None,
        worker: str | None = None,
        reason: str | None = None,
        error_type: str | None = None,
        event_type: str | None = None,
    ) -> RedriveResult:
        """Delete dead letters for good."""


class PlantCalls(Protocol):
    """Groups, engines, operations, logs, health."""

    async def list_groups(self) -> Page[Group]:
        """Return all groups."""

    async def get_group(self, name: str) -> Group:
        """Return one group."""

    async def release_group(self, name: str, token: int) -> Group:
        """Free a group whose holder is lost; *token* must be the one shown."""

    async def list_engines(self) -> Page[Engine]:
        """Return all engines."""

    async def get_engine(self, media_type: str) -> Engine:
        """Return the engine of a media type or of an alias."""

    async def get_operation(self, operation: str) -> Operation:
        """Return one operation."""

    async def list_operations(self) -> Page[Operation]:
        """Return the operations that are kept, newest first."""

    async def cancel_operation(self, operation: str) -> Operation:
        """Ask an operation to end early."""

    async def logs(self, ref: str | None, *, since_seq: int = 0, tail: int = 100) -> list[LogLine]:
        """Return the last *tail* kept lines after *since_seq*, oldest first; None: all workers."""

    def tail_logs(
        self, ref: str | None, *, since_seq: int = 0
    ) -> AbstractAsyncContextManager[LogTail]:
        """Follow the lines after *since_seq* in handfuls, kept ones first."""

    async def health(
        self, *, verbose: bool = False, worker: str | None = None, executor: str | None = None
    ) -> Health:
        """Return the health of the service, or of one worker or executor.

        *verbose* adds a record per part; those of a worker or an executor are always there.
        """

    def live(self) -> bool:
        """Tell whether the loop is alive."""

    def started(self) -> bool:
        """Tell whether recovery is over."""

    def ready(self) -> tuple[bool, str]:
        """Tell whether calls can be served, and if not, why."""

    async def metrics(self) -> bytes:
        """Return the metrics in the Prometheus text format."""


class LogTail(Protocol):
    """Lines as they come."""

    async def take(self) -> Sequence[Handful]:
        """Wait for lines and take all that came; a reader too slow is told how many it lost."""


class Watch(Protocol):
    """One stream of changes."""

    @property
    def dropped(self) -> trio.Event:
        """Set once the stream was cut off for reading too slowly; `take` raises then."""

    async def take(self) -> Sequence[Change]:
        """Wait for the next changes, a handful or more at once."""


class WatchCalls(Protocol):
    """What is followed."""

    def watch(
        self, kinds: Sequence[str], *, worker: str = "", resume_token: str = ""
    ) -> AbstractAsyncContextManager[Watch]:
        """Follow *kinds* (workers, executors, tasks, deadLetters), of one worker or of all."""

    def serving(self, worker: str) -> bool | None:
        """Tell whether a worker takes events; None: there is no such worker."""


class AccessCalls(Protocol):
    """Applications, their keys, the audit: for administrators."""

    async def list_applications(self) -> Page[Application]:
        """Return all applications."""

    async def get_application(self, application: str) -> Application:
        """Return one application."""

    async def create_application(self, application: NewApplication) -> Application:
        """Make an application; it has no key yet."""

    async def update_application(self, application: str, spec: ApplicationSpec) -> Application:
        """Replace what an application may do."""

    async def delete_application(self, application: str) -> None:
        """Forget an application with its keys."""

    async def list_access_keys(self, application: str) -> Page[AccessKey]:
        """Return an application's keys, without their secrets."""

    async def create_access_key(self, application: str, key: NewAccessKey) -> IssuedKey:
        """Make a key; what comes back is the only copy of its secret."""

    async def delete_access_key(self, application: str, access_key: str) -> None:
        """Forget a key."""

    async def list_audit_entries(
        self,
        *,
        principal: str = "",
        action: str = "",
        page_size: int = 50,
        page_token: str = "",
    ) -> Page[AuditEntry]:
        """Return a page of the audit, newest first."""


class Service(WorkerCalls, EventCalls, PlantCalls, WatchCalls, AccessCalls, Protocol):
    """All of it."""
