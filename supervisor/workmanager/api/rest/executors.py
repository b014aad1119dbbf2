"""Executors: the processes that run."""

from fastapi import APIRouter, Response

from workmanager.api.paging import cut_page
from workmanager.api.rest.answers import answer
from workmanager.api.rest.params import PageQuery, ServiceCalls, WorkerRef
from workmanager.api.rest.routing import Route
from workmanager.model.resources import Executor, Page

router = APIRouter(route_class=Route, prefix="/v1", tags=["executors"])


@router.get("/executors", response_model=Page[Executor])
async def list_executors(service: ServiceCalls, paging: PageQuery) -> Response:
    """List the executors of all workers."""
    return answer(cut_page(await service.list_executors(), paging))


@router.get("/workers/{worker:name}/executors", response_model=Page[Executor])
async def list_executors_of_worker(
    service: ServiceCalls, worker: WorkerRef, paging: PageQuery
) -> Response:
    """List the executors of one worker."""
    return answer(cut_page(await service.list_executors(worker), paging))
