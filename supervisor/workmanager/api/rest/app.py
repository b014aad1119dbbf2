"""The application: routes, middleware and the description of itself, around one service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import Route as PlainRoute
from starlette.routing import WebSocketRoute

import workmanager
from workmanager.api.auth import Auth, AuthMiddleware
from workmanager.api.problems import problem_response
from workmanager.api.rest import (
    applications,
    dapr,
    dead_letters,
    engines,
    executors,
    groups,
    health,
    logs,
    openapi,
    operations,
    tasks,
    versions,
    watch,
    workers,
)
from workmanager.api.rest.bodies import Limits
from workmanager.api.rest.border import Border
from workmanager.api.rest.events import PublishEndpoint
from workmanager.api.rest.events import router as events_router
from workmanager.api.rest.idempotency import Answers, IdempotencyStore

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from workmanager.api.protocol import Service

_PathMethods = tuple["re.Pattern[str]", frozenset[str]]

PUBLISH = "/v1/topics/{topic:path}:publish"


class Api(FastAPI):
    """FastAPI with a complete description of itself."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.complete(super().openapi())
        return self.openapi_schema


def create_app(
    service: Service,
    auth: Auth,
    *,
    answers: IdempotencyStore,
    limits: Limits | None = None,
) -> Api:
    """Build the REST API of *service*, an ASGI application for trio.

    Args:
        service: Where every call lands.
        auth: Who may call.
        answers: Where the answers to requests with an Idempotency-Key are kept.
        limits: How large bodies may be.
    """
    limits = limits or Limits()
    app = Api(
        title="WorkManager",
        version=workmanager.__version__,
        description=openapi.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _refuse},
    )
    app.state.service = service
    app.state.limits = limits
    app.state.answers = Answers(answers)
    app.state.access = auth.access
    endpoint = PublishEndpoint(max_bytes=limits.events)
    app.router.routes.append(PlainRoute(PUBLISH, endpoint, methods=["POST"]))
    app.router.routes.append(WebSocketRoute(watch.PATH, watch.watch_socket))
    for router in _ROUTERS:
        # `include_router` would build every route a second time, at the first request.
        app.router.routes.extend(router.routes)
    app.state.methods = _methods_of(app.router.routes)
    app.add_middleware(AuthMiddleware, auth=auth)
    app.add_middleware(Border)  # the last added is the outermost
    return app


_ROUTERS = (
    watch.router,
    workers.verbs,
    workers.router,
    versions.router,
    executors.router,
    logs.router,
    events_router,
    tasks.router,
    dead_letters.verbs,
    dead_letters.router,
    groups.router,
    engines.router,
    operations.router,
    applications.router,
    health.router,
    dapr.router,
)


async def _refuse(request: Request, exc: Exception) -> Response:
    response = problem_response(exc, instance=request.url.path)
    if response.status_code == 405:
        methods: list[_PathMethods] = request.app.state.methods
        allowed = {
            word for pattern, words in methods if pattern.match(request.url.path) for word in words
        }
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _methods_of(routes: Sequence[BaseRoute]) -> list[_PathMethods]:
    """List the methods of every path: Starlette's own 405 names those of one route only."""
    return [
        (route.path_regex, frozenset(route.methods or ()))
        for route in routes
        if isinstance(route, PlainRoute)
    ]
