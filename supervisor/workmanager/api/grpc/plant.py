"""The rpcs about groups, engines, operations and the service itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import workmanager
from workmanager.api.grpc.convert import to_json
from workmanager.api.grpc.paging import page_of
from workmanager.api.grpc.rpc import Calls, Work
from workmanager.api.paging import cut_page
from workmanager.api.requests import Release
from workmanager.api.validation import read_model
from workmanager.v1 import admin_service_pb2, engine_pb2, group_pb2, operation_pb2

if TYPE_CHECKING:
    from workmanager.api.protocol import Service
    from workmanager.model.resources import Engine, Group, Health, Operation, Page

groups = Calls(group_pb2.DESCRIPTOR.services_by_name["GroupService"])
engines = Calls(engine_pb2.DESCRIPTOR.services_by_name["EngineService"])
operations = Calls(operation_pb2.DESCRIPTOR.services_by_name["OperationService"])
admin = Calls(admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"])


@groups.unary()
def list_groups(request: group_pb2.ListGroupsRequest) -> Work[Page[Group]]:
    """List the groups that workers name."""
    page = page_of(request)

    async def work(service: Service) -> Page[Group]:
        return cut_page(await service.list_groups(), page)

    return work


@groups.unary()
def get_group(request: group_pb2.GetGroupRequest) -> Work[Group]:
    """Get one group with its members and holders."""
    return lambda service: service.get_group(request.group)


@groups.unary(keyed=True)
def release_group(request: group_pb2.ReleaseGroupRequest) -> Work[Group]:
    """Take a group's lock from the holder that has the token shown."""
    asked = to_json(request)
    name = str(asked.pop("group", ""))
    token = read_model(Release, asked).token
    return lambda service: service.release_group(name, token)


@engines.unary()
def list_engines(request: engine_pb2.ListEnginesRequest) -> Work[Page[Engine]]:
    """List the engines and whether they can be used here."""
    page = page_of(request)

    async def work(service: Service) -> Page[Engine]:
        return cut_page(await service.list_engines(), page)

    return work


@engines.unary()
def get_engine(request: engine_pb2.GetEngineRequest) -> Work[Engine]:
    """Get the engine of a media type."""
    return lambda service: service.get_engine(request.engine)


@operations.unary()
def list_operations(request: operation_pb2.ListOperationsRequest) -> Work[Page[Operation]]:
    """List operations, the newest first."""
    page = page_of(request)

    async def work(service: Service) -> Page[Operation]:
        return cut_page(await service.list_operations(), page)

    return work


@operations.unary()
def get_operation(request: operation_pb2.GetOperationRequest) -> Work[Operation]:
    """Get one operation."""
    return lambda service: service.get_operation(request.operation)


@operations.unary(keyed=True)
def cancel_operation(request: operation_pb2.CancelOperationRequest) -> Work[Operation]:
    """Ask an operation to end early."""
    return lambda service: service.cancel_operation(request.operation)


@admin.unary()
def get_health(request: admin_service_pb2.GetHealthRequest) -> Work[Health]:
    """Get the health of the service, a worker or an executor."""
    return lambda service: service.health(
        verbose=request.verbose,
        worker=request.worker or None,
        executor=request.executor or None,
    )


@admin.unary()
def get_metrics(
    request: admin_service_pb2.GetMetricsRequest,  # noqa: ARG001 - it holds nothing
) -> Work[admin_service_pb2.GetMetricsResponse]:
    """Get the metrics in the Prometheus text format."""

    async def work(service: Service) -> admin_service_pb2.GetMetricsResponse:
        return admin_service_pb2.GetMetricsResponse(text=(await service.metrics()).decode())

    return work


@admin.unary()
def get_version_info(
    request: admin_service_pb2.GetVersionInfoRequest,  # noqa: ARG001 - it holds nothing
) -> Work[admin_service_pb2.VersionInfo]:
    """Tell what runs here."""
    python = ".".join(str(part) for part in sys.version_info[:3])

    async def work(_: Service) -> admin_service_pb2.VersionInfo:
        return admin_service_pb2.VersionInfo(
            version=workmanager.__version__, api_version="v1", python=python
        )

    return work
