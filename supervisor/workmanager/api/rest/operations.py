"""Operations: verbs that take long, and how far they are."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from workmanager.api.paging import cut_page
from workmanager.api.rest.answers import answer
from workmanager.api.rest.openapi import refuses
from workmanager.api.rest.params import PageQuery, ServiceCalls
from workmanager.api.rest.routing import Route
from workmanager.model.resources import Operation, Page

router = APIRouter(route_class=Route, prefix="/v1/operations", tags=["operations"])

OperationId = Annotated[str, Path(description="The operation's id.", max_length=128)]


@router.get("", response_model=Page[Operation])
async def list_operations(service: ServiceCalls, paging: PageQuery) -> Response:
    """List operations, the newest first."""
    return answer(cut_page(await service.list_operations(), paging))


@router.get("/{operation:name}", response_model=Operation)
async def get_operation(service: ServiceCalls, operation: OperationId) -> Response:
    """Get one operation."""
    return answer(await service.get_operation(operation))


@router.post("/{operation:name}:cancel", response_model=Operation, responses=refuses(409))
async def cancel_operation(service: ServiceCalls, operation: OperationId) -> Response:
    """Ask an operation to end early."""
    return answer(await service.cancel_operation(operation))
