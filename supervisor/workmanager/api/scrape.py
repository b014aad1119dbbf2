"""A door for scrapers alone: `GET /metrics`, nothing else, without credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request


def metrics_app(render: Callable[[], bytes]) -> Starlette:
    """Make the application that answers with what *render* returns, which must not block."""

    async def metrics(_: Request) -> Response:
        return Response(render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])
