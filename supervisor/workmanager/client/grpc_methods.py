"""The gRPC methods of `workmanager.v1` by their names, which no two services share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from google.protobuf.message_factory import GetMessageClass

from workmanager.v1 import (
    access_pb2,
    admin_service_pb2,
    engine_pb2,
    event_service_pb2,
    group_pb2,
    operation_pb2,
    task_service_pb2,
    worker_service_pb2,
)

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message

_FILES = (
    access_pb2,
    admin_service_pb2,
    engine_pb2,
    event_service_pb2,
    group_pb2,
    operation_pb2,
    task_service_pb2,
    worker_service_pb2,
)


@dataclass(frozen=True, slots=True)
class GrpcMethod:
    """A method: its path on the wire and its messages."""

    path: str
    request: type[Message]
    response: type[Message]


@cache
def grpc_methods() -> dict[str, GrpcMethod]:
    """Return all methods."""
    services = [service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()]
    return {name: method for service in services for name, method in _methods_of(service)}


def _methods_of(service: ServiceDescriptor) -> list[tuple[str, GrpcMethod]]:
    return [
        (
            method.name,
            GrpcMethod(
                f"/{service.full_name}/{method.name}",
                GetMessageClass(method.input_type),
                GetMessageClass(method.output_type),
            ),
        )
        for method in service.methods
    ]
