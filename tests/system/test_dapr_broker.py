"""Events through a sidecar: what comes, what is answered, what follows the workers."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from dapr_harness import DaprLab, beside
from system_harness import Load, event, serving, until

ECHO = "def process(event): return event.data"
NOTHING = "def process(event): return None"
BIG = b'{"n": 9007199254740993, "text": "<\xc3\xa9>"}'


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with beside(tmp_path_factory.mktemp("state"), "--set", "dapr_silence_s=600") as service:
        yield service


@pytest.fixture
def lab(service):
    corner = DaprLab(service)
    yield corner
    corner.close()


def test_backend_is_chosen_by_the_environment_of_dapr_run(lab):
    sidecar = lab.until_check("sidecar", "ok")
    assert "app-id workmanager" in sidecar["detail"]
    metrics = lab.client.get("/metrics").decode()
    assert "workmanager_dapr_sidecar_up 1.0" in metrics


def test_chain_of_workers_goes_through_the_sidecar_and_each_delivery_is_answered_once(lab):
    sink = lab.sink("out", dedupe={"window": "1h"})  # a slow machine lets Redis deliver again
    lab.worker("a", ECHO, topic="in", output="mid")
    lab.worker("b", ECHO, topic="mid", output="out")
    before = lab.place.told()
    for start in range(0, 500, 50):
        lab.publish("in", [event({"n": n}, id=n) for n in range(start, start + 50)])
    assert Counter(data["n"] for data in sink.data(500)) == Counter(range(500))
    told = lab.check_answers()
    assert len(told["answers"]) - len(before["answers"]) >= 1500
    bulk = told["calls"]["BulkPublishEvent"] - before["calls"].get("BulkPublishEvent", 0)
    assert 0 < bulk < 500


def test_bytes_arrive_as_they_were_published(lab):
    sink = lab.sink("in")
    path = f"/v1/topics/{lab.topic('in')}:publish"
    binary = {"ce-id": "b", "ce-source": "/s", "ce-type": "t", "ce-topic": "mine"}
    lab.client.post(path, BIG, headers={**binary, "content-type": "application/json"})
    [record] = sink.take(1)
    assert record["data"] == {"n": 9007199254740993, "text": "<é>"}
    assert record["topic"] == "mine"
    assert "wmenvelope" not in record


def test_message_that_is_no_event_becomes_one_and_says_so(lab):
    sink = lab.sink("in")
    lab.post("in", '{"temperature": 20}')
    [record] = sink.take(1)
    assert (record["data"], record["wmenvelope"]) == ({"temperature": 20}, "raw")
    assert 'workmanager_dapr_altered_total{finding="raw"}' in lab.client.get("/metrics").decode()


def test_malformed_event_becomes_a_dead_letter_and_is_answered(lab):
    worker = lab.worker("a", NOTHING, topic="in", deadLetter={"topic": lab.topic("dead")})
    sink = lab.sink("dead")
    broken = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "time": "yesterday"}
    lab.post("in", json.dumps(broken))
    [letter] = until(lambda: lab.client.all("/v1/deadLetters", worker=worker.name))
    assert letter["reason"] == "MALFORMED"
    assert "time" in letter["error"]["message"]
    [record] = sink.take(1)
    assert record["wmreason"] == "MALFORMED"
    lab.check_answers()


def test_event_delivered_twice_is_handled_once(lab):
    worker = lab.worker("a", NOTHING, topic="in")
    lab.place.control("POST", "/duplicate", {"pubsub": "pubsub", "times": 5})
    lab.send("in", *range(20))
    worker.until(lambda status: status["tasksCompleted"] == 20)
    until(lambda: lab.checks()[f"subscription/{lab.topic('in')}"]["value"] == 25)
    worker.until_idle()
    assert worker.status()["tasksCompleted"] == 20


def test_worker_that_was_created_listens(lab):
    worker = lab.worker("a", NOTHING, topic="in", start=False)
    assert lab.checks()[f"subscription/{lab.topic('in')}"]["status"] == "ok"
    assert condition_of(worker) == (True, "SUBSCRIBED", "")


def test_worker_says_that_its_stream_is_not_open_and_why(lab):
    worker = lab.worker("a", NOTHING, topic="in", inbox={"maxCount": 5})
    worker.verb("pause")
    lab.publish("in", [event(n, id=n) for n in range(10)], arrive=False)
    holds, reason, message = until(lambda: silent_condition_of(worker))
    assert (holds, reason) == (False, "NOT_LISTENING")
    why = f"(draining|paused): the inbox of {worker.name} is full"
    assert re.fullmatch(f"topic '{lab.topic('in')}': its subscription is {why}", message)
    worker.verb("resume")
    worker.until(lambda status: status["tasksCompleted"] == 10)
    until(lambda: not silent_condition_of(worker))


def condition_of(worker):
    [found] = [c for c in worker.status()["conditions"] if c["type"] == "Subscribed"]
    return found["status"], found["reason"], found["message"]


def silent_condition_of(worker):
    found = condition_of(worker)
    return None if found[0] else found


def test_full_inbox_closes_the_subscription_and_room_opens_it(lab):
    worker = lab.worker("a", NOTHING, topic="in", inbox={"maxCount": 20})
    worker.verb("pause")
    lab.publish("in", [event(n, id=n) for n in range(100)], arrive=False)
    check = lab.until_check(f"subscription/{lab.topic('in')}", "degraded")
    assert worker.name in check["detail"]
    until(lambda: lab.topic("in") not in lab.subscribed(), what="the stream is closed")
    worker.verb("resume")
    worker.until(lambda status: status["tasksCompleted"] == 100)
    lab.until_open("in")
    lab.check_answers()


def test_subscriptions_follow_a_hundred_workers_under_load(lab):
    busy = lab.worker("busy", NOTHING, topic="busy", concurrency={"perExecutor": 50})
    names = [f"many{n}" for n in range(100)]
    with Load(lab.service, lab.topic("busy"), rate=200) as load:
        prefix = f"{lab.prefix}."
        made = [lab.worker(name, NOTHING, start=False, topic=name) for name in names]
        wanted = sorted([lab.topic(name) for name in (*names, "busy")])
        until(lambda: [t for t in lab.subscribed() if t.startswith(prefix)] == wanted)
        for worker in made[::2]:
            lab.client.call("DELETE", worker.path)
        wanted = sorted([lab.topic(name) for name in (*names[1::2], "busy")])
        until(lambda: [t for t in lab.subscribed() if t.startswith(prefix)] == wanted)
        for worker in made[1::2]:
            lab.client.call("DELETE", worker.path)
        wanted = [lab.topic("busy")]
        until(lambda: [t for t in lab.subscribed() if t.startswith(prefix)] == wanted)
        load.pass_by(20)
    busy.until(lambda status: status["tasksCompleted"] == load.sent)
    lab.check_answers()


def test_what_an_outbox_held_goes_to_local_workers_with_the_embedded_broker(tmp_path):
    with beside(tmp_path / "state") as service:
        lab = DaprLab(service)
        worker = lab.worker("a", NOTHING, topic="in")
        lab.until_open("in")
        lab.place.kill()
        lab.until_check("sidecar", "degraded")
        lab.publish("in", [event(n, id=n) for n in range(10)], arrive=False)
        assert lab.checks()["outbox"]["value"] == 10
        lab.client.close()
    with serving(tmp_path / "state", "--backend", "embedded") as service:
        path = f"/v1/workers/{worker.name}"
        client = service.client()
        until(lambda: client.get(path)["status"]["tasksCompleted"] == 10)
        assert "sidecar" not in {c["name"] for c in client.get("/v1/health?verbose=true")["checks"]}
        client.close()
