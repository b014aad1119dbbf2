"""One real service, called with stock grpcio over TCP and the Unix socket."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before grpc is imported; other tests fork

import grpc
import httpx2
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from workmanager.cloudevents.v1.cloudevents_pb2 import CloudEvent
from workmanager.v1 import (
    admin_service_pb2_grpc,
    engine_pb2_grpc,
    event_service_pb2_grpc,
    group_pb2_grpc,
    operation_pb2_grpc,
    task_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from workmanager.v1 import event_service_pb2 as events_pb
from workmanager.v1 import operation_pb2 as operations_pb
from workmanager.v1 import worker_service_pb2 as pb

LIMIT_S = 20
START_S = 60  # a busy machine takes long to start a process
ECHO = b'def process(event):\n    print("seen", event.id)\n    return {"echo": event.data}\n'
STUBS = {
    "workers": worker_service_pb2_grpc.WorkerServiceStub,
    "events": event_service_pb2_grpc.EventServiceStub,
    "tasks": task_service_pb2_grpc.TaskServiceStub,
    "groups": group_pb2_grpc.GroupServiceStub,
    "engines": engine_pb2_grpc.EngineServiceStub,
    "operations": operation_pb2_grpc.OperationServiceStub,
    "admin": admin_service_pb2_grpc.AdminServiceStub,
}


@dataclass
class Api:
    """A running service and its stubs, by default over its Unix socket."""

    process: subprocess.Popen
    state: Path
    urls: list
    lines: list
    channel: grpc.Channel = None
    rest: httpx2.Client = None
    workers: object = field(init=False)
    events: object = field(init=False)
    tasks: object = field(init=False)
    groups: object = field(init=False)
    engines: object = field(init=False)
    operations: object = field(init=False)
    admin: object = field(init=False)

    def __post_init__(self):
        if self.channel is None:
            self.channel = grpc.insecure_channel(f"unix:{self.state / 'grpc.sock'}")
        for name, stub in STUBS.items():
            setattr(self, name, stub(self.channel))
        transport = httpx2.HTTPTransport(uds=str(self.state / "workmanager.sock"))
        self.rest = httpx2.Client(transport=transport, base_url="http://wm", timeout=LIMIT_S)

    @property
    def token(self):
        return (self.state / "token").read_text().strip()

    @property
    def target(self):
        """Where TCP clients dial."""
        return next(url for url in self.urls if url.startswith("grpc")).partition("://")[2]

    @property
    def credentials(self):
        return (("authorization", f"Bearer {self.token}"),)

    def create(self, code=ECHO, **spec):
        """Create a worker with *code*; returns its name."""
        manifest = {"metadata": {"name": new_name()}, "spec": {"code": {"content": code}, **spec}}
        return self.workers.CreateWorker(pb.CreateWorkerRequest(manifest=manifest)).name

    def delete(self, name):
        operation = self.workers.DeleteWorker(pb.DeleteWorkerRequest(worker=name, drain=False))
        return self.finish(operation)

    def publish(self, topic, *events):
        return self.events.PublishBatch(events_pb.PublishBatchRequest(topic=topic, events=events))

    def invoke(self, worker, data=b"1", **options):
        request = events_pb.InvokeRequest(worker=worker, event=event(text_data=data), **options)
        return self.events.Invoke(request)

    def finish(self, operation):
        """Wait for the end of an operation."""
        request = operations_pb.GetOperationRequest(operation=operation.id)
        return self.until(
            lambda: self.operations.GetOperation(request), holds=lambda seen: seen.done
        )

    def until(self, ask, *, holds=bool):
        """Ask until the answer holds, for a bounded time; returns it."""
        ends_at = time.monotonic() + LIMIT_S
        while not holds(answer := ask()):
            assert time.monotonic() < ends_at, answer
        return answer


def new_name():
    return f"w-{uuid.uuid4().hex[:8]}"


def event(**members):
    """Make an event."""
    return CloudEvent(**{"id": uuid.uuid4().hex, "source": "/test", "type": "t", **members})


def refusal(call, request, **options):
    """Make a call that is refused; returns its code, its message and its details."""
    try:
        answer = call(request, timeout=LIMIT_S, **options)
        if hasattr(answer, "__next__"):
            answer = list(answer)
    except grpc.RpcError as error:
        return refused(error)
    raise AssertionError(f"it was answered: {answer}")


def refused(error):
    """Read how a call was refused."""
    found = SimpleNamespace(code=error.code(), message=error.details(), info=None, faults={})
    status = rpc_status.from_call(error)
    for packed in status.details if status is not None else ():
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                found.__dict__[kind.__name__] = kind.FromString(packed.value)
    found.info = getattr(found, "ErrorInfo", None)
    found.reason = found.info.reason if found.info else ""
    violations = getattr(found, "BadRequest", BadRequest()).field_violations
    found.faults = {violation.field: violation.description for violation in violations}
    return found


@contextmanager
def serving(state, *options):
    """Start the service; leave when it has ended in good order."""
    words = [sys.executable, "-m", "workmanager.cli", "serve", "--bind", "none"]
    words += ["--set", "grpc_bind=127.0.0.1:0", "--set", "log_worker_lines=false"]
    words += ["--state", str(state), "--log-format", "json", *options]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        urls, lines, ready = [], [], threading.Event()

        def read():
            for line in process.stderr:
                lines.append(line)
                if '"event": "serving"' in line:
                    urls.extend(json.loads(line)["urls"])
                    ready.set()
            ready.set()  # it has ended: there is nothing to wait for

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert ready.wait(START_S), "the service did not start in time"
            assert urls, "".join(lines)
            api = Api(process, Path(state), urls, lines)
            yield api
            api.channel.close()
            api.rest.close()
            assert process.poll() in (None, 0), "".join(lines)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(LIMIT_S)
            finally:
                process.kill()
                reader.join()
    assert not [line for line in lines if "request_failed" in line or "Traceback" in line], lines
    assert process.returncode == 0


@pytest.fixture(scope="session")
def api(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("g") / "state") as running:
        yield running


@pytest.fixture(scope="session")
def make():
    """Hand out the builders: test modules cannot import a conftest (importlib mode)."""
    return SimpleNamespace(
        ECHO=ECHO,
        LIMIT_S=LIMIT_S,
        event=event,
        name=new_name,
        refusal=refusal,
        refused=refused,
        serving=serving,
    )
