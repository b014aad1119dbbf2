"""Tasks: one event to be handled by one worker."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from workmanager.api.rest.answers import answer
from workmanager.api.rest.openapi import refuses
from workmanager.api.rest.params import PageQuery, ServiceCalls
from workmanager.api.rest.routing import Route
from workmanager.model.resources import Page, Task
from workmanager.model.states import TaskStatus

router = APIRouter(route_class=Route, prefix="/v1/tasks", tags=["tasks"])

TaskId = Annotated[str, Path(description="The task's id.", max_length=128)]


@router.get("", response_model=Page[Task])
async def list_tasks(
    service: ServiceCalls,
    paging: PageQuery,
    worker: Annotated[str, Query(max_length=128)] = "",
    status: TaskStatus | None = None,
) -> Response:
    """List tasks, the newest first."""
    return answer(
        await service.list_tasks(
            worker=worker or None, status=status, page_size=paging.size, page_token=paging.token
        )
    )


@router.get("/{task:name}", response_model=Task)
async def get_task(service: ServiceCalls, task: TaskId) -> Response:
    """Get one task."""
    return answer(await service.get_task(task))


@router.post("/{task:name}:cancel", response_model=Task, responses=refuses(409))
async def cancel_task(service: ServiceCalls, task: TaskId) -> Response:
    """Cancel a task; an attempt under way is told, then killed."""
    return answer(await service.cancel_task(task))


@router.post("/{task:name}:retry", response_model=Task, responses=refuses(409))
async def retry_task(service: ServiceCalls, task: TaskId) -> Response:
    """Hand a delayed task out now."""
    return answer(await service.retry_task(task))
