"""`grpc.health.v1`: the service as a whole, and each worker by `workers/NAME`.

Whoever may reach the door may ask about the service: that is what probes do. A worker's health
takes credentials, for whether a name is known tells something.

Source: grpc/health/v1/health.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from grpc_health.v1 import health_pb2 as pb

from workmanager.api.grpc.rpc import Calls, Work
from workmanager.errors import NotFoundError

if TYPE_CHECKING:
    from workmanager.api.grpc.outlet import Outlet
    from workmanager.api.grpc.rpc import Stream
    from workmanager.api.protocol import Service

POLL_S = 0.5  # between two looks of a watch; each costs a microsecond
WORKER_PREFIX = "workers/"
OWN_NAMES = frozenset({"", "workmanager.v1"})

calls = Calls(pb.DESCRIPTOR.services_by_name["Health"])
_Status = pb.HealthCheckResponse.ServingStatus


def _is_public(request: pb.HealthCheckRequest) -> bool:
    return not request.service.startswith(WORKER_PREFIX)


@calls.unary(is_public=_is_public)
def check(request: pb.HealthCheckRequest) -> Work[pb.HealthCheckResponse]:
    """Tell how the service or a worker is."""

    async def work(service: Service) -> pb.HealthCheckResponse:
        status = _status_of(service, request.service)
        if status == pb.HealthCheckResponse.SERVICE_UNKNOWN:
            raise NotFoundError(
                f"nothing is called {request.service!r} here; ask for '', 'workmanager.v1' or "
                "'workers/NAME'"
            )
        return pb.HealthCheckResponse(status=status)

    return work


@calls.stream(is_public=_is_public)
def watch(request: pb.HealthCheckRequest) -> Stream:
    """Tell how the service or a worker is, and again whenever that changes."""

    async def work(service: Service, outlet: Outlet) -> None:
        told: _Status | None = None
        while True:
            status = _status_of(service, request.service)
            if status != told:
                await outlet.send(pb.HealthCheckResponse(status=status).SerializeToString)
                told = status
            await trio.sleep(POLL_S)

    return work


@calls.unary()
def list(request: pb.HealthListRequest) -> Work[pb.HealthListResponse]:  # noqa: A001, ARG001 - the rpc's name; it holds nothing
    """Tell how the service and every worker is."""

    async def work(service: Service) -> pb.HealthListResponse:
        answer = pb.HealthListResponse()
        names = [*OWN_NAMES]
        token = ""
        while True:
            page = await service.list_workers(page_size=1000, page_token=token)
            names += [f"{WORKER_PREFIX}{worker.name}" for worker in page.items]
            token = page.next_page_token
            if not token:
                break
        for name in names:
            answer.statuses[name].status = _status_of(service, name)
        return answer

    return work


def _status_of(service: Service, name: str) -> _Status:
    if name.startswith(WORKER_PREFIX):
        serves = service.serving(name.removeprefix(WORKER_PREFIX))
    elif name in OWN_NAMES or name.startswith("workmanager.v1."):
        serves = service.ready()[0]
    else:
        serves = None
    if serves is None:
        return pb.HealthCheckResponse.SERVICE_UNKNOWN
    return pb.HealthCheckResponse.SERVING if serves else pb.HealthCheckResponse.NOT_SERVING
