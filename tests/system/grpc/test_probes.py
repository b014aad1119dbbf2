"""`grpc.health.v1` and server reflection, with the clients that everybody has."""

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from workmanager.v1 import worker_service_pb2 as pb

pytestmark = [pytest.mark.system, pytest.mark.slow]

SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3
OWN = {
    "workmanager.v1.WorkerService",
    "workmanager.v1.EventService",
    "workmanager.v1.TaskService",
    "workmanager.v1.GroupService",
    "workmanager.v1.EngineService",
    "workmanager.v1.OperationService",
    "workmanager.v1.AdminService",
    "grpc.health.v1.Health",
}


@pytest.fixture
def health(api):
    return health_pb2_grpc.HealthStub(api.channel)


def ask(name):
    return health_pb2.HealthCheckRequest(service=name)


@pytest.mark.parametrize("name", ["", "workmanager.v1", "workmanager.v1.WorkerService"])
def test_the_service_is_serving(health, name):
    assert health.Check(ask(name)).status == SERVING


def test_a_worker_serves_while_it_runs(api, health):
    name = api.create()
    assert health.Check(ask(f"workers/{name}")).status == SERVING
    api.workers.StopWorker(pb.StopWorkerRequest(worker=name))
    assert health.Check(ask(f"workers/{name}")).status == NOT_SERVING
    listed = health.List(health_pb2.HealthListRequest()).statuses
    assert listed[f"workers/{name}"].status == NOT_SERVING
    assert listed[""].status == SERVING


def test_what_is_unknown_is_not_found(health, make):
    for name in ("workers/absent", "sheep"):
        assert make.refusal(health.Check, ask(name)).code is grpc.StatusCode.NOT_FOUND


def test_a_watch_tells_each_change(api, health, make):
    name = make.name()
    stream = health.Watch(ask(f"workers/{name}"), timeout=make.LIMIT_S)
    assert next(stream).status == UNKNOWN
    manifest = {"metadata": {"name": name}, "spec": {"code": {"content": make.ECHO}}}
    api.workers.CreateWorker(pb.CreateWorkerRequest(manifest=manifest))
    assert next(stream).status == SERVING
    api.workers.StopWorker(pb.StopWorkerRequest(worker=name))
    assert next(stream).status == NOT_SERVING
    api.delete(name)
    assert next(stream).status == UNKNOWN
    stream.cancel()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_services(api, version):
    call = api.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (answer,) = call(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    assert {service.name for service in answer.list_services_response.service} >= OWN


def test_a_client_without_proto_files_makes_a_call(api):
    """As grpcurl does: everything it knows of the call, it was told by reflection."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(api.channel))
    service = pool.FindServiceByName("workmanager.v1.AdminService")
    method = service.FindMethodByName("GetVersionInfo")
    answer = GetMessageClass(method.output_type)
    call = api.channel.unary_unary(
        "/workmanager.v1.AdminService/GetVersionInfo", response_deserializer=answer.FromString
    )
    assert call(b"").api_version == "v1"
    assert pool.FindMessageTypeByName("io.cloudevents.v1.CloudEvent").fields_by_name["id"]
