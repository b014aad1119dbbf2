"""Dead letters: tasks that used up their attempts."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from workmanager.api.requests import Redrive, Selection
from workmanager.api.rest import bodies
from workmanager.api.rest.answers import answer, answer_operation
from workmanager.api.rest.openapi import refuses
from workmanager.api.rest.params import PageQuery, ServiceCalls
from workmanager.api.rest.routing import Route
from workmanager.model.resources import DeadLetter, Operation, Page, RedriveResult

router = APIRouter(route_class=Route, prefix="/v1/deadLetters", tags=["dead letters"])
verbs = APIRouter(route_class=Route, prefix="/v1", tags=["dead letters"])


@router.get("", response_model=Page[DeadLetter])
async def list_dead_letters(
    service: ServiceCalls,
    paging: PageQuery,
    worker: Annotated[str, Query(max_length=128)] = "",
    reason: Annotated[str, Query(max_length=128)] = "",
    error_type: Annotated[str, Query(alias="errorType", max_length=1024)] = "",
    event_type: Annotated[str, Query(alias="eventType", max_length=1024)] = "",
) -> Response:
    """List dead letters, the newest first."""
    return answer(
        await service.list_dead_letters(
            worker=worker or None,
            reason=reason or None,
            error_type=error_type or None,
            event_type=event_type or None,
            page_size=paging.size,
            page_token=paging.token,
        )
    )


@router.get("/{letter:name}", response_model=DeadLetter)
async def get_dead_letter(
    service: ServiceCalls, letter: Annotated[str, Path(max_length=256)]
) -> Response:
    """Get one dead letter with its event."""
    return answer(await service.get_dead_letter(letter))


@verbs.post(
    "/deadLetters:redrive",
    status_code=202,
    response_model=Operation,
    openapi_extra=bodies.json_body(Redrive),
    responses=refuses(409, 422),
)
async def redrive(request: Request, service: ServiceCalls) -> Response:
    """Hand dead letters to their workers again; their attempts start anew."""
    body = await bodies.parse_model(request, Redrive)
    return answer_operation(await service.redrive(**body.model_dump()))


@verbs.post(
    "/deadLetters:purge",
    response_model=RedriveResult,
    openapi_extra=bodies.json_body(Selection),
    responses=refuses(409, 422),
)
async def purge_dead_letters(request: Request, service: ServiceCalls) -> Response:
    """Forget dead letters for good."""
    body = await bodies.parse_model(request, Selection)
    return answer(await service.purge_dead_letters(**body.model_dump()))
