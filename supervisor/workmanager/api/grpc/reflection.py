"""Server reflection, so that grpcurl and its like need no proto files; open as /openapi.json is.

grpcio-reflection 1.85 knows `v1alpha` only. `v1` has the same messages under another name, and so
the same bytes (grpc/reflection/v1/reflection.proto).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def reflection_handlers(services: Iterable[str]) -> list[grpc.GenericRpcHandler]:
    """Return what serves reflection of *services*, full names, in both of its versions."""
    servicer = reflection.aio.ReflectionServicer((*services, *VERSIONS))  # type: ignore[no-untyped-call]  # it has no stubs
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = cast("dict[str, grpc.RpcMethodHandler[Any, Any]]", {"ServerReflectionInfo": handler})
    return [grpc.method_handlers_generic_handler(version, methods) for version in VERSIONS]
