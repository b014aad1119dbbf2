"""A service that is killed while its sidecar holds deliveries for it: all of them come again."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from dapr_harness import DaprLab
from system_harness import SINK, Service, Sink, until

sys.path.insert(0, str(Path(__file__).parents[1] / "dapr"))

from dapr_client import Client as DaprClient
from dapr_client import event
from sidecars import DAPRD, PLAIN, fake_sidecar, patience, real_sidecar, redis_server

pytestmark = pytest.mark.slow

TOPICS = [f"returned.{n}" for n in range(8)]
EACH = 30


@contextmanager
def sidecar(kind, folder):
    with ExitStack() as stack:
        if kind == "fake":
            options = ("--processing-timeout", "1", "--redeliver-interval", "0.2")
            yield stack.enter_context(fake_sidecar("workmanager", *options))
        else:
            port = stack.enter_context(redis_server(folder / "redis"))
            yield stack.enter_context(real_sidecar("workmanager", folder, redis_port=port, **PLAIN))


@pytest.mark.parametrize("kind", ["fake", *(["daprd"] if DAPRD else [])])
def test_nothing_is_lost_that_waited_in_the_sidecar(kind, tmp_path):
    """Redis takes a failed delivery for done; without a dead letter topic a third would be gone."""
    with sidecar(kind, tmp_path) as place:
        service = Service.start(tmp_path / "state", environ=place.environment).wait_ready()
        client = DaprClient(place.grpc_port)
        lab = DaprLab(service)
        triggers = [{"topic": topic} for topic in TOPICS]
        spec = {"triggers": triggers, "env": {"LEAN": "1"}, "concurrency": {"perExecutor": 256}}
        name = lab.worker("sink", SINK, **spec).name
        until(lambda: {topic for _, topic in client.subscriptions()} >= set(TOPICS))
        lab.client.close()
        os.kill(service.pid, signal.SIGSTOP)
        for number in range(EACH):
            for topic in TOPICS:
                client.send(topic, event(f"{topic}:{number}", data=f"{topic}:{number}"))
        for _ in patience(0.5):  # for the sidecar to hold what it can
            pass
        service.kill()
        for _ in patience(0.5):  # for it to notice
            pass
        service = Service.start(tmp_path / "state", environ=place.environment).wait_ready()
        lab = DaprLab(service)
        seen = Sink(lab, name).take(len(TOPICS) * EACH, timeout_s=60)
        assert set(seen) == {f"{topic}:{n}" for topic in TOPICS for n in range(EACH)}
        client.close()
        lab.client.close()
        service.stop()
