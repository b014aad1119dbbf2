"""The table of calls: complete, the same in protobuf and REST, and safe to repeat."""

import inspect
import json
import subprocess
import sys

import pytest

from workmanager.api.protocol import AccessCalls, EventCalls, PlantCalls, WorkerCalls
from workmanager.client import AsyncWorkManagerClient, ProblemError, WorkManagerClient
from workmanager.client.call import Call, Method
from workmanager.client.calls import Calls
from workmanager.client.grpc_messages import document_of, request_of
from workmanager.client.grpc_methods import grpc_methods
from workmanager.client.light import LightClient
from workmanager.client.problems import ConnectionLostError, NoSupervisorError
from workmanager.client.rest_form import http_form
from workmanager.client.results import read_result
from workmanager.client.retries import Attempts, Reconnects
from workmanager.cloudevents.v1.cloudevents_pb2 import CloudEvent
from workmanager.v1.worker_pb2 import Worker

NOT_CALLS = {"follow_logs", "live", "started", "ready"}  # streams, and probes that health tells
CLIENTS = (WorkManagerClient, AsyncWorkManagerClient, LightClient)
EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": "a/b"}
MANIFEST = {
    "metadata": {"name": "w"},
    "spec": {"code": {"content": "eA=="}, "timeouts": {"start": "2s"}, "group": "g"},
}
ARGUMENTS = {"manifest": MANIFEST, "merge_patch": {"spec": {}}, "content": b"x", "event": EVENT}
ARGUMENTS |= {"events": [EVENT], "token": 1}


def methods():
    found = inspect.getmembers_static(Calls, lambda member: isinstance(member, Method))
    return dict(found)


def make(method):
    """Make the call of a method with something for each parameter that has no default."""
    parameters = list(inspect.signature(method.make).parameters.values())[1:]
    needed = [p for p in parameters if p.default is p.empty]
    return method.make(None, **{p.name: ARGUMENTS.get(p.name, "w") for p in needed})


def of_service():
    protocols = (WorkerCalls, EventCalls, PlantCalls, AccessCalls)
    return {name for each in protocols for name in vars(each) if not name.startswith("_")}


def test_every_call_of_the_service_is_a_method_of_every_client():
    for client in CLIENTS:
        assert not {n for n in of_service() - NOT_CALLS if not hasattr(client, n)}


@pytest.mark.parametrize("name", methods())
def test_method_stands_in_both_schemas(name):
    call = make(methods()[name])
    request = request_of(call)
    assert request.DESCRIPTOR is grpc_methods()[call.rpc].request.DESCRIPTOR
    form = http_form(call)
    assert "{" not in form.path
    assert form.path.startswith(("/v1/", "/metrics", "/version"))


@pytest.mark.parametrize("name", methods())
def test_result_of_every_method_can_be_read(name):
    """An answer of nothing is refused as unknown, unless nothing is what comes back."""
    method = methods()[name]
    annotation = method.make.__annotations__["return"]
    if annotation in ("Call[None]", "Call[Any]"):
        assert read_result(method, None) is None
    else:
        with pytest.raises(ProblemError, match="UNKNOWN_ANSWER"):
            read_result(method, None)


@pytest.mark.parametrize("name", methods())
def test_changes_are_repeated_only_where_they_cannot_be_done_twice(name):
    call = make(methods()[name])
    if call.may_repeat and call.method in ("POST", "PATCH"):
        assert call.key or call.rpc in ("PublishBatch", "DiffWorker")


def test_manifest_travels_in_plain_units_and_nothing_is_added():
    request = request_of(make(methods()["create_worker"]))
    assert request.manifest.spec.timeouts.start == 2.0
    assert request.manifest.spec.group.name == "g"
    assert not request.manifest.spec.HasField("retry")
    assert request.manifest.spec.code.content == b"x"


def test_faults_of_a_manifest_are_those_the_service_would_tell():
    with pytest.raises(ProblemError) as caught:
        request_of(Calls.create_worker.make(None, {"metadata": {"name": "w"}, "spec": {"x": 1}}))
    assert caught.value.status == 400
    assert {fault.pointer for fault in caught.value.faults} >= {"spec.x", "spec.code"}


@pytest.mark.parametrize(
    ("content_type", "members"),
    [
        ("application/json", {"data": {"n": 1, "big": 2**60}}),
        ("text/plain", {"data": "héllo"}),
        ("image/png", {"data_base64": "iVBORw=="}),
        ("text/plain; charset=latin-1", {"data_base64": "6Q=="}),
    ],
)
def test_event_comes_back_as_it_went(content_type, members):
    event = EVENT | {"datacontenttype": content_type, "time": "2026-01-02T03:04:05.678Z"}
    event |= {"partitionkey": "k", "sequence": 7, "flag": True, **members}
    request = request_of(Calls.publish.make(None, "t", event))
    again = CloudEvent.FromString(request.events[0].SerializeToString())
    assert document_of(again) == event


def test_large_numbers_stay_numbers():
    message = Worker(generation=2**60)
    assert document_of(message)["generation"] == 2**60


def test_what_a_newer_service_tells_is_passed_over():
    answer = {"mediaType": "a/b", "available": True, "detail": "", "newer": 1}
    assert read_result(Calls.get_engine, answer).media_type == "a/b"
    with pytest.raises(ProblemError, match="UNKNOWN_ANSWER"):
        read_result(Calls.get_engine, {"mediaType": 1})


LOST = ConnectionLostError("t", "cut")
AWAY = NoSupervisorError("t", "refused", may_pass=True)
WRONG = NoSupervisorError("t", "certificate")
BUSY = ProblemError("INBOX_FULL", 429, "full", retry_after_s=0.5)
NO = ProblemError("WORKER_NOT_FOUND", 404, "no")
IN_USE = ProblemError("IDEMPOTENCY_KEY_IN_USE", 409, "still", retry_after_s=1.0)
READ = Call("GetWorker", "GET", "/")
INVOKE = Call("Invoke", "POST", "/", may_repeat=False)


@pytest.mark.parametrize(
    ("call", "patience_s", "errors", "delays"),
    [
        (READ, 0, [LOST, LOST, LOST], [0.05, 0.2, None]),
        (INVOKE, 60, [LOST], [None]),
        (INVOKE, 0, [AWAY, AWAY, AWAY], [0.05, 0.2, None]),
        (READ, 60, [AWAY, AWAY, AWAY, AWAY], [0.05, 0.2, 0.5, 0.5]),
        (READ, 60, [WRONG], [None]),
        (READ, 60, [NO], [None]),
        (READ, 0, [BUSY], [None]),
        (INVOKE, 60, [BUSY, BUSY], [0.5, 0.5]),
        (READ, 0, [IN_USE], [None]),
        (READ, 0, [LOST, IN_USE], [0.05, 1.0]),
    ],
)
def test_what_is_tried_again(call, patience_s, errors, delays):
    attempts = Attempts(call, patience_s)
    assert [attempts.delay_s(error) for error in errors] == delays


@pytest.mark.parametrize(("patience_s", "tries"), [(0.0, 8), (60.0, 20)])
def test_a_stream_is_taken_up_for_as_long_as_there_is_patience(patience_s, tries):
    reconnects = Reconnects(patience_s)
    lost = ConnectionLostError("here", "cut")
    delays = [reconnects.delay_s(lost) for _ in range(20)]
    assert sum(delay is not None for delay in delays) == tries


def test_import_is_light():
    """A program pays for pydantic, gRPC and anyio when it uses them."""
    code = "import sys, json, workmanager.client.light; print(json.dumps(sorted(sys.modules)))"
    words = [sys.executable, "-c", code]
    loaded = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert not {"pydantic", "grpc", "anyio", "trio", "google.protobuf", "ssl"} & set(loaded)
