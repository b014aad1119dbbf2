"""The rpcs about tasks and dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.api.grpc.convert import to_json
from workmanager.api.grpc.paging import page_of
from workmanager.api.grpc.rpc import Calls, Work
from workmanager.api.requests import Redrive, Selection
from workmanager.api.validation import read_model
from workmanager.errors import Fault, InvalidArgumentError
from workmanager.model.states import TaskStatus
from workmanager.v1 import task_service_pb2 as pb

if TYPE_CHECKING:
    from workmanager.model.resources import DeadLetter, Operation, Page, RedriveResult, Task

calls = Calls(pb.DESCRIPTOR.services_by_name["TaskService"])


@calls.unary()
def list_tasks(request: pb.ListTasksRequest) -> Work[Page[Task]]:
    """List tasks, the newest first."""
    page, status = page_of(request), _status(request.status)
    return lambda service: service.list_tasks(
        worker=request.worker or None, status=status, page_size=page.size, page_token=page.token
    )


@calls.unary()
def get_task(request: pb.GetTaskRequest) -> Work[Task]:
    """Get one task."""
    return lambda service: service.get_task(request.task)


@calls.unary(keyed=True)
def cancel_task(request: pb.CancelTaskRequest) -> Work[Task]:
    """Cancel a task."""
    return lambda service: service.cancel_task(request.task)


@calls.unary(keyed=True)
def retry_task(request: pb.RetryTaskRequest) -> Work[Task]:
    """Hand a delayed task out now."""
    return lambda service: service.retry_task(request.task)


@calls.unary()
def list_dead_letters(request: pb.ListDeadLettersRequest) -> Work[Page[DeadLetter]]:
    """List dead letters, the newest first."""
    page = page_of(request)
    return lambda service: service.list_dead_letters(
        worker=request.worker or None,
        reason=request.reason or None,
        error_type=request.error_type or None,
        event_type=request.event_type or None,
        page_size=page.size,
        page_token=page.token,
    )


@calls.unary()
def get_dead_letter(request: pb.GetDeadLetterRequest) -> Work[DeadLetter]:
    """Get one dead letter with its event."""
    return lambda service: service.get_dead_letter(request.letter)


@calls.unary(keyed=True)
def redrive(request: pb.RedriveRequest) -> Work[Operation]:
    """Hand dead letters to their workers again."""
    wanted = read_model(Redrive, to_json(request)).model_dump()
    return lambda service: service.redrive(**wanted)


@calls.unary(keyed=True)
def purge_dead_letters(request: pb.PurgeDeadLettersRequest) -> Work[RedriveResult]:
    """Forget dead letters for good."""
    wanted = read_model(Selection, to_json(request)).model_dump()
    return lambda service: service.purge_dead_letters(**wanted)


def _status(word: str) -> TaskStatus | None:
    if not word:
        return None
    if word not in TaskStatus.__members__:
        detail = f"must be one of {', '.join(TaskStatus)}"
        raise InvalidArgumentError(f"status {detail}", faults=[Fault("status", detail)])
    return TaskStatus(word)
