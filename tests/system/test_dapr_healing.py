"""A sidecar that is absent, killed, slow, refusing or deaf: everything heals by itself."""

from __future__ import annotations

import signal
import time

import pytest
from dapr_harness import DaprLab, beside
from system_harness import Load, event, until

NOTHING = "def process(event): return None"
ECHO = "def process(event): return event.data"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with beside(tmp_path_factory.mktemp("state"), "--set", "dapr_silence_s=2") as service:
        yield service


@pytest.fixture
def lab(service):
    corner = DaprLab(service)
    yield corner
    corner.place.heal()
    corner.close()


def test_sidecar_absent_at_the_start_is_waited_for(tmp_path):
    with beside(tmp_path / "state", is_up=False) as service:
        lab = DaprLab(service)
        assert lab.client.get("/v1/health")["status"] == "degraded"
        lab.publish("in", [event(n, id=n) for n in range(20)], arrive=False)
        checks = lab.checks()
        assert checks["outbox"]["value"] == 20
        assert "UNAVAILABLE" in checks["sidecar"]["detail"]
        lab.place.start()
        lab.until_check("sidecar", "ok")
        worker = lab.worker("a", NOTHING, topic="in")
        worker.until(lambda status: status["tasksCompleted"] == 20)
        until(lambda: lab.client.get("/v1/health")["status"] == "ok")
        lab.place.kill()
        lab.until_check("sidecar", "degraded")
        told = until(lambda: _idle(lab.client.get(f"{worker.path}:explain")))
        assert "subscription" in told["summary"]
        lab.client.close()


def _idle(told):
    return None if told["processing"] else told


def test_sidecar_killed_in_mid_stream_loses_nothing(lab):
    sink = lab.sink("out", lean=True, dedupe={"window": "1h"})
    lab.worker("a", ECHO, topic="in", output="out")
    with Load(lab.service, lab.topic("in"), rate=300) as load:
        for _ in range(3):
            load.pass_by(60)
            lab.place.kill()
            load.pass_by(60)  # the API stays up
            lab.place.start()
            lab.until_check("sidecar", "ok")
    numbers = sorted(data["n"] for data in sink.take(load.sent, timeout_s=60))
    assert numbers == list(range(load.sent))


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED"])
def test_stream_that_ends_is_opened_again(lab, code):
    worker = lab.worker("a", NOTHING, topic="in")
    assert lab.streams("drop", "in", code=code) == {"streams": 1}
    lab.send("in", *range(10))
    worker.until(lambda status: status["tasksCompleted"] == 10)


def test_deaf_stream_is_noticed_and_opened_again(lab):
    worker = lab.worker("a", NOTHING, topic="in")
    until(lambda: lab.topic("in") in lab.subscribed())
    lab.streams("forget", "in")
    lab.publish("in", [event(n, id=n) for n in range(10)], arrive=False)
    worker.until(lambda status: status["tasksCompleted"] == 10)
    assert lab.service.wait_line("subscription_reopened", topic=lab.topic("in"))


@pytest.mark.parametrize(
    "fault",
    [
        {"method": "*", "kind": "slow", "delay_s": 0.3, "times": 20},
        {"method": "BulkPublishEvent", "code": "INTERNAL", "times": 2},
        {"method": "BulkPublishEvent", "code": "UNIMPLEMENTED", "times": 1},
        {"method": "BulkPublishEvent", "kind": "lose", "times": 1},
        {"method": "BulkPublishEvent", "kind": "entries", "match": '"id":"7"', "times": 3},
        {"method": "SubscribeTopicEventsAlpha1", "code": "INTERNAL", "times": 2},
    ],
    ids=lambda fault: f"{fault['method']}-{fault.get('kind', fault.get('code'))}",
)
def test_every_event_gets_through_once_in_spite_of(lab, fault):
    lab.place.fault(fault.pop("method"), **fault)
    worker = lab.worker("a", NOTHING, topic="in")
    for start in range(0, 60, 20):
        lab.publish("in", [event(n, id=n) for n in range(start, start + 20)], arrive=False)
    worker.until(lambda status: status["tasksCompleted"] == 60, timeout_s=30)
    assert {task["eventId"] for task in worker.tasks()} == {str(n) for n in range(60)}


def test_event_that_is_refused_again_and_again_holds_up_nobody(lab):
    worker = lab.worker("a", NOTHING, topic="in")
    for method, kind in (("BulkPublishEvent", "entries"), ("PublishEvent", "refuse")):
        lab.place.fault(method, kind=kind, match="poison", code="INTERNAL")
    made = [event(n, id="poison" if n == 3 else n) for n in range(20)]
    lab.publish("in", made, arrive=False)
    worker.until(lambda status: status["tasksCompleted"] == 19, timeout_s=60)
    check = lab.checks()["outbox"]
    assert check["value"] == 1
    lab.place.heal()
    worker.until(lambda status: status["tasksCompleted"] == 20, timeout_s=60)


@pytest.mark.parametrize("how", ["gone", "frozen"])
def test_shutdown_does_not_need_the_sidecar(tmp_path, how):
    with beside(tmp_path / "state") as service:
        lab = DaprLab(service)
        lab.worker("a", NOTHING, topic="in")
        lab.until_open("in")
        lab.client.close()
        process = lab.sidecar_process()
        if how == "frozen":
            process.suspend()
        else:
            lab.place.kill()
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        service.wait_line("stopped")  # the interpreter's own end takes as long as it takes
        took_s = time.monotonic() - began
        process.resume()
        service.process.wait(30)
    assert took_s < 2.0
