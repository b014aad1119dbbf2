"""What `dapr run` does to the app: its variables, its order of starting, its way of ending.

The command line of Dapr is imitated, process by process (dapr/cli 1.18, cmd/run.go, run_unix.go):
daprd first and the app when it listens; with --app-port the app while daprd waits for its port. At
the end SIGKILL for daprd, SIGTERM for the app's process group, SIGKILL for it five seconds later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from system_harness import Lab, Service, check_gone, until

sys.path.insert(0, str(Path(__file__).parents[1] / "dapr"))

from dapr_client import Client as DaprClient
from dapr_client import event
from sidecars import DAPRD, fake_sidecar, free_port, real_sidecar, redis_server

pytestmark = pytest.mark.slow

GRACE_S = 5.0  # of dapr/cli 1.18; 1.17 and before give none
OWN_GROUP = "import os, sys; os.setpgid(0, 0); os.execvp(sys.argv[1], sys.argv[1:])"
SLOW = """
import time
def process(event):
    time.sleep(120)
"""


@pytest.fixture(params=["fake", *(["daprd"] if DAPRD else [])])
def sidecar(request, tmp_path):
    """Return a context manager that runs a sidecar; its options are daprd's."""

    @contextmanager
    def run(*options):
        with contextlib.ExitStack() as stack:
            if request.param == "fake":
                yield stack.enter_context(fake_sidecar("workmanager"))
            else:
                port = stack.enter_context(redis_server(tmp_path / "redis"))
                folder = tmp_path / "daprd"
                folder.mkdir()
                yield stack.enter_context(
                    real_sidecar("workmanager", folder, *options, redis_port=port)
                )

    return run


@pytest.fixture
def run(tmp_path):
    """Start the app as `dapr run` does, in a process group of its own."""
    started = []

    def start(environ, *options):
        wrapper = (sys.executable, "-c", OWN_GROUP)
        service = Service.start(tmp_path / "state", *options, environ=environ, wrapper=wrapper)
        started.append(service)
        return service

    yield start
    while labs:
        labs.pop().client.close()
    for service in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(service.pid, signal.SIGKILL)
        service._collect()


labs = []


def corner(service):
    labs.append(Lab(service))
    return labs[-1]


def interrupt(place, service):
    """End both as Ctrl-C does; returns whether the app needed its SIGKILL."""
    family = [psutil.Process(service.pid), *service.family()]
    place.kill()
    os.killpg(service.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    is_left = True
    while is_left and time.monotonic() < deadline:
        service.process.poll()  # reaped, or the group would stay
        is_left = _has_group(service.pid)
        time.sleep(0.05)
    if is_left:
        os.killpg(service.pid, signal.SIGKILL)
    service.process.wait(10)
    check_gone(family)
    return is_left


def test_without_an_app_port_the_sidecar_is_there_first(sidecar, run):
    with sidecar() as place:
        service = run({"APP_ID": "workmanager", **place.environment}).wait_ready()
        lab = corner(service)
        sink = lab.sink("t")
        client = DaprClient(place.grpc_port)
        client.send(lab.topic("t"), event("e1"))
        assert [seen["id"] for seen in sink.take(1)] == ["e1"]
        client.close()
        assert not interrupt(place, service)
    assert service.process.returncode == 0
    service.check()


def test_with_an_app_port_the_sidecar_waits_for_it(sidecar, run):
    port = free_port()
    with sidecar("--app-port", str(port), "--enable-app-health-check") as place:
        environ = {"APP_PORT": str(port), **place.environment}
        service = run(environ, "--bind", f"127.0.0.1:{port}").wait_ready()
        lab = corner(service)
        sink = lab.sink("t")
        client = DaprClient(place.grpc_port)
        client.send(lab.topic("t"), event("e1"))
        assert [seen["id"] for seen in sink.take(1)] == ["e1"]
        assert ("pubsub", lab.topic("t")) in client.subscriptions()
        client.close()
        assert not interrupt(place, service)
    assert service.process.returncode == 0
    service.check()


def test_the_api_answers_before_there_is_a_sidecar(run):
    with fake_sidecar("workmanager") as place:
        place.kill()
        service = run(place.environment).wait_ready()
        lab = corner(service)
        place.start()
        until(lambda: lab.client.get("/v1/health")["status"] == "ok", what="the sidecar is found")
        sink = lab.sink("t")
        client = DaprClient(place.grpc_port)
        client.send(lab.topic("t"), event("e1"))
        assert [seen["id"] for seen in sink.take(1)] == ["e1"]
        client.close()
        assert not interrupt(place, service)


def test_an_interrupt_with_work_in_hand_leaves_no_process(sidecar, run):
    """A handler that does not end is left to the SIGKILL; its executor goes with the service."""
    with sidecar() as place:
        service = run(place.environment).wait_ready()
        lab = corner(service)
        worker = lab.worker("slow", SLOW, topic="t")
        client = DaprClient(place.grpc_port)
        client.send(lab.topic("t"), event("e1"))
        worker.until(lambda status: status["inFlight"] == 1)
        client.close()
        interrupt(place, service)


def _has_group(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
