"""What the API shows: the resources of REST, gRPC and the command line, in one shape.

Field names are camelCase on the wire (pydantic aliases), snake_case here. Times are aware UTC
datetimes, durations are seconds as numbers with `_s`, sizes are bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from workmanager.model.spec import WorkerSpec
from workmanager.model.states import (
    DesiredState,
    ExecutorState,
    TaskStatus,
    VersionState,
    WorkerState,
)

T = TypeVar("T")


class Resource(BaseModel):
    """Base of every resource: immutable, camelCase on the wire."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid"
    )


class Page(Resource, Generic[T]):
    """One page of a list; `next_page_token` is empty on the last page."""

    items: list[T]
    next_page_token: str = ""


ConditionType = Literal[
    "CodeReady", "Subscribed", "ExecutorsReady", "GroupReady", "Healthy", "Isolated"
]


class Condition(Resource):
    """Why a worker is as it is: one fact, true or false, with its reason."""

    type: ConditionType
    status: bool
    reason: str
    message: str = ""
    last_transition_time: datetime


class WorkerStatus(Resource):
    """What is observed of a worker."""

    state: WorkerState
    conditions: list[Condition] = []
    current_version: str = ""
    candidate_version: str = ""
    executors_ready: int = 0
    restarts: int = 0
    backlog: int = 0
    backlog_bytes: int = 0
    in_flight: int = 0
    delayed: int = 0
    tasks_completed: int = 0
    tasks_failed: int = 0
    dead_letters: int = 0
    last_event_time: datetime | None = None
    last_error: str = ""


class Worker(Resource):
    """A worker: what was declared and what is observed."""

    name: str
    uid: str
    etag: str
    generation: int
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    created_at: datetime
    updated_at: datetime
    spec: WorkerSpec
    desired_state: DesiredState
    status: WorkerStatus


class ApplyResult(Resource):
    """What an apply did."""

    change: Literal["created", "changed", "unchanged"]
    worker: Worker


class Version(Resource):
    """An immutable version of a worker's code and configuration, named by its digest."""

    id: str
    worker: str
    digest: str
    code_digest: str
    engine: str
    handler: str = ""
    state: VersionState
    size_bytes: int
    created_at: datetime
    message: str = ""


class Executor(Resource):
    """A process that runs one version of one worker."""

    id: str
    worker: str
    version: str
    pid: int
    state: ExecutorState
    started_at: datetime
    uptime_s: float
    in_flight: int
    tasks_total: int
    cpu_s: float = 0.0
    memory_rss_bytes: int = 0
    memory_pss_bytes: int = 0
    threads: int = 0
    open_files: int = 0
    last_ping_s: float | None = None
    isolation_level: str = ""
    isolation: list[dict[str, Any]] = []


class TaskError(Resource):
    """The error of an attempt."""

    type: str
    message: str
    traceback: str = ""


class TaskUsage(Resource):
    """What the last attempt of a task used, as the kernel counts it; null where it cannot tell.

    Attempts that run beside others in one executor cannot be told apart.
    """

    cpu_s: float | None = None
    memory_peak_bytes: int | None = Field(
        default=None, description="The most memory of its executor; of attempts over 50 ms."
    )
    read_bytes: int | None = Field(default=None, description="Of attempts over 50 ms.")
    written_bytes: int | None = Field(default=None, description="Of attempts over 50 ms.")


class Attempt(Resource):
    """One run of a task."""

    number: int
    status: TaskStatus
    started_at: datetime | None = None
    duration_s: float | None = None
    executor: str = ""
    version: str = ""
    error: TaskError | None = None


class Task(Resource):
    """One event to be handled by one worker."""

    id: str
    worker: str
    status: TaskStatus
    attempt: int
    crashes: int = 0
    max_attempts: int
    event_id: str
    event_source: str
    event_type: str
    topic: str = ""
    version: str = ""
    executor: str = ""
    scheduled_at: datetime
    due_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: float | None = None
    outputs: int = 0
    fencing_token: int | None = None
    error: TaskError | None = None
    usage: TaskUsage | None = None


class DeadLetter(Resource):
    """A task that used up its attempts, kept with its reason and its event."""

    id: str
    worker: str
    task: str
    reason: str
    error: TaskError | None = None
    attempts: int
    crashes: int
    version: str = ""
    topic: str = ""
    event: dict[str, Any] = Field(description="The event in the CloudEvents JSON format.")
    accepted_at: datetime
    failed_at: datetime


class RedriveResult(Resource):
    """How many dead letters went back to their workers' inboxes (or were purged)."""

    count: int


class GroupMember(Resource):
    """A worker of a group and what it does there."""

    worker: str
    waiting: int
    holding: int


class Group(Resource):
    """A group's lock as it stands."""

    name: str
    limit: int
    key: str = ""
    delivery: Literal["once", "each"]
    scope: Literal["auto", "host", "cluster"]
    members: list[GroupMember]
    holders: list[dict[str, Any]] = []
    fencing_token: int


class Change(Resource):
    """One change of a watch: the field that `kind` names holds the thing; a bookmark has none."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    kind: Literal["worker", "executor", "task", "deadLetter", ""] = ""
    resume_token: str = Field(default="", description="Goes on after this change.")
    worker: Worker | None = None
    executor: Executor | None = None
    task: Task | None = None
    dead_letter: DeadLetter | None = None


class WatchResponse(Resource):
    """Changes that are told together, in order."""

    changes: list[Change]


class Engine(Resource):
    """An engine and whether it can be used here."""

    media_type: str
    aliases: list[str] = []
    available: bool
    detail: str
    runtime_version: str = ""


class Operation(Resource):
    """A verb that takes long, and how far it is."""

    id: str
    kind: str
    target: str
    done: bool
    created_at: datetime
    ended_at: datetime | None = None
    progress: str = ""
    error: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


class Explanation(Resource):
    """One sentence why a worker is or is not processing, and the facts behind it."""

    worker: str
    summary: str
    processing: bool
    facts: dict[str, Any]
    next_step: str = ""


class LogLine(Resource):
    """One line that a worker wrote; `task` is empty where the line belongs to no attempt."""

    seq: int
    time: datetime
    worker: str
    executor: str
    version: str = ""
    task: str = ""
    trace_id: str = Field(default="", description="Of the attempt, or of what its event came with.")
    span_id: str = ""
    stream: Literal["stdout", "stderr", "log", "supervisor"]
    level: str
    text: str


class PublishResult(Resource):
    """What became of published events: all are committed, or the call failed and none is."""

    topic: str
    accepted: int
    duplicates: int
    deliveries: int


class InvokeResult(Resource):
    """The outcome of an invoke: `outputs` are events in the CloudEvents JSON format."""

    task: str
    status: TaskStatus
    outputs: list[dict[str, Any]] = []
    duration_s: float | None = None
    error: TaskError | None = None


class FieldChange(Resource):
    """One field that an apply would change."""

    path: str
    old: Any = None
    new: Any = None


class Diff(Resource):
    """What an apply would change: empty `changes` means nothing."""

    worker: str
    exists: bool
    changes: list[FieldChange]


class Health(Resource):
    """Health of the service or of one worker: `checks` holds one record per part."""

    status: Literal["ok", "degraded", "failed"]
    version: str
    uptime_s: float
    checks: list[dict[str, Any]] = []
