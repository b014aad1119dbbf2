"""How a route of the control plane runs: query checked, body bounded, errors as problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor

from workmanager.api.problems import problem_response
from workmanager.api.rest import bodies, idempotency
from workmanager.errors import Fault, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from starlette.requests import Request
    from starlette.responses import Response

IDEMPOTENT_BY_KEY = frozenset({"POST", "PATCH"})


class _Name(Convertor[str]):
    """One segment without a colon, so that `/workers/{w}` does not swallow `:start`."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _VersionId(_Name):
    """A version's id; a digest has a colon of its own."""

    regex = "(?:sha256:)?[^/:]+"


class _MediaType(_Name):
    """A media type, which has a slash."""

    regex = "[^:]+"


register_url_convertor("name", _Name())
register_url_convertor("version", _VersionId())
register_url_convertor("media_type", _MediaType())


class Route(APIRoute):
    """A route whose every outcome is a well-formed answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        call = super().get_route_handler()
        allowed = frozenset(
            param.alias
            for param in get_flat_params(self.dependant)
            if isinstance(param.field_info, Query)
        )
        kind = bodies.kind_of(self.openapi_extra)

        async def handle(request: Request) -> Response:
            try:
                check_query(request.query_params.multi_items(), allowed)
                await _take_body(request, kind)
                if _has_key(request):
                    return await _answers(request).once(request, lambda: _run(call, request))
            except Exception as exc:  # noqa: BLE001 - the request's border
                return problem_response(exc, instance=request.url.path)
            return await _run(call, request)

        return handle


def check_query(items: Iterable[tuple[str, str]], allowed: frozenset[str]) -> None:
    """Refuse query parameters that are unknown or given twice, all at once.

    Raises:
        InvalidArgumentError: With every fault.
    """
    faults: list[Fault] = []
    seen: set[str] = set()
    for name, _ in items:
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            faults.append(Fault(f"query.{name}", f"is unknown; this call takes: {known}"))
        elif name in seen:
            faults.append(Fault(f"query.{name}", "is given twice"))
        seen.add(name)
    if faults:
        first = faults[0]
        raise InvalidArgumentError(f"{first.pointer} {first.detail}", faults=faults)


async def _take_body(request: Request, kind: str) -> None:
    limits = cast("bodies.Limits", request.app.state.limits)
    body = await bodies.read_body(request.headers, request.receive, max_bytes=limits.of(kind))
    if kind == "none":
        bodies.check_no_body(body)
    request.state.body = body


async def _run(
    call: Callable[[Request], Coroutine[Any, Any, Response]], request: Request
) -> Response:
    try:
        return await call(request)
    except Exception as exc:  # noqa: BLE001 - the request's border
        return problem_response(exc, instance=request.url.path)


def _has_key(request: Request) -> bool:
    return request.method in IDEMPOTENT_BY_KEY and idempotency.HEADER in request.headers


def _answers(request: Request) -> idempotency.Answers:
    return cast("idempotency.Answers", request.app.state.answers)
