"""Verbs on workers, the inbox while nothing runs, its limits, and backpressure."""

from __future__ import annotations

import psutil
import pytest
from system_harness import ProblemError, event, until

ECHO = "def process(event): return event.data"
SLOW = """
import time
def process(event):
    time.sleep(0.3)
    return event.data
"""


def test_stopped_worker_keeps_its_subscription_and_fills_its_inbox(lab):
    sink = lab.sink("out")
    worker = lab.worker("a", ECHO, topic="in", output="out")
    [executor] = worker.executors()
    stopped = worker.verb("stop")
    assert (stopped["status"]["state"], stopped["desiredState"]) == ("STOPPED", "STOPPED")
    assert not psutil.pid_exists(executor["pid"])
    assert lab.send("in", *range(10))["deliveries"] == 10
    status = worker.status()
    assert (status["backlog"], status["executorsReady"]) == (10, 0)
    assert status["backlogBytes"] > 0
    assert worker.tasks()[0]["status"] == "SCHEDULED"
    assert worker.verb("start")["status"]["state"] == "RUNNING"
    assert sink.data(10) == list(range(10))


def test_paused_worker_keeps_its_executors_warm(lab):
    sink = lab.sink("out")
    worker = lab.worker("a", ECHO, topic="in", output="out")
    [executor] = worker.executors()
    assert worker.verb("pause")["status"]["state"] == "PAUSED"
    lab.send("in", *range(5))
    assert worker.status()["backlog"] == 5
    assert worker.executors()[0]["pid"] == executor["pid"]
    assert worker.verb("resume")["status"]["state"] == "RUNNING"
    assert sink.data(5) == list(range(5))
    assert worker.executors()[0]["pid"] == executor["pid"]


def test_verbs_are_idempotent_and_refuse_what_makes_no_sense(lab):
    worker = lab.worker("a", ECHO)
    for verb, state in (("start", "RUNNING"), ("pause", "PAUSED"), ("stop", "STOPPED")):
        for _ in range(2):
            assert worker.verb(verb)["status"]["state"] == state
    assert worker.verb("resume", expect=409)["reason"] == "INVALID_STATE"
    assert worker.verb("restart", expect=409)["reason"] == "INVALID_STATE"
    assert worker.invoke(1, expect=409)["reason"] == "INVALID_STATE"
    assert worker.invoke(1, mode="async")["status"] == "SCHEDULED"
    assert worker.verb("pause")["status"]["state"] == "PAUSED"
    assert worker.verb("start")["status"]["state"] == "RUNNING"


def test_worker_created_stopped_has_proved_its_code(lab):
    worker = lab.worker("a", ECHO, topic="in", start=False)
    worker.until_state("STOPPED")
    assert until(lambda: not worker.executors(), what="its trial executor ends") is True
    bad = lab.manifest("b", "def nothing(): pass")
    lab.client.post("/v1/workers?start=false", bad, expect=422)


def test_stop_lets_the_running_attempt_finish(lab):
    sink = lab.sink("out")
    worker = lab.worker("a", SLOW, topic="in", output="out")
    lab.send("in", "first", "second", "third")
    worker.until(lambda status: status["inFlight"] > 0)
    worker.verb("stop")
    worker.until_state("STOPPED")
    done = sink.take(0)
    assert 1 <= len(done) < 3
    assert worker.status()["backlog"] == 3 - len(done)
    worker.verb("start")
    assert sink.data(3) == ["first", "second", "third"]


def test_restart_replaces_the_executors_and_loses_nothing(lab):
    sink = lab.sink("out")
    worker = lab.worker("a", ECHO, topic="in", output="out", concurrency={"executors": 2})
    before = {executor["pid"] for executor in worker.executors()}
    lab.send("in", *range(100))
    assert worker.verb("restart")["status"]["state"] == "RUNNING"
    assert sorted(sink.data(100)) == list(range(100))
    until(lambda: len(worker.executors()) == 2, what="the old ones have drained")
    after = {executor["pid"] for executor in worker.executors()}
    assert not before & after


def test_deleted_worker_leaves_nothing(lab):
    code = "def process(event): raise ValueError"
    worker = lab.worker("a", code, topic="in", retry={"maximumAttempts": 1})
    lab.send("in", 1)
    worker.until(lambda status: status["deadLetters"] == 1)
    [executor] = worker.executors()
    [task] = worker.tasks()
    operation = lab.client.call("DELETE", worker.path)
    assert lab.client.finish(operation)["error"] is None
    lab.client.get(worker.path, expect=404)
    assert not psutil.pid_exists(executor["pid"])
    assert lab.publish("in", [event(id="x")])["deliveries"] == 0
    letters = lab.client.all("/v1/deadLetters")
    assert task["id"] not in {letter["id"] for letter in letters}


@pytest.mark.parametrize(("drain", "handled"), [("true", 1), ("false", 0)])
def test_delete_drains_the_running_attempt_only_when_asked(lab, drain, handled):
    sink = lab.sink("out")
    worker = lab.worker("a", SLOW, topic="in", output="out")
    lab.send("in", *range(5))
    worker.until(lambda status: status["inFlight"] > 0)
    operation = lab.client.call("DELETE", f"{worker.path}?drain={drain}")
    lab.client.finish(operation)
    assert handled <= len(sink.take(0)) <= handled + 1
    lab.client.get(worker.path, expect=404)


def test_delete_is_final_while_executors_die_and_start(lab):
    """What becomes ready or ends meanwhile brings nothing back, and no fault is told."""
    code = """
    import os
    def process(event):
        os._exit(3)
    """
    for _ in range(30):
        worker = lab.worker("a", code, topic="in", concurrency={"executors": 4})
        lab.send("in", *range(20))
        operation = lab.client.call("DELETE", f"{worker.path}?drain=false")
        assert lab.client.finish(operation)["error"] is None
        lab.client.get(worker.path, expect=404)


def test_name_can_be_used_again_after_a_delete(lab):
    first = lab.worker("a", ECHO, topic="in")
    lab.client.finish(lab.client.call("DELETE", first.path))
    second = lab.worker("a", ECHO, topic="in")
    assert second.get()["uid"]
    assert second.invoke(1)["outputs"][0]["data"] == 1


def test_full_inbox_refuses_the_whole_call_and_says_when_to_come_back(lab):
    worker = lab.worker("a", ECHO, topic="in", start=False, inbox={"maxCount": 10})
    sink = lab.sink("in")
    lab.send("in", *range(8))
    more = [event(n, id=f"more{n}") for n in range(5)]
    problem = lab.publish("in", more, expect=429)
    assert problem["reason"] == "INBOX_FULL"
    assert problem["metadata"]["worker"] == worker.name
    assert int(lab.client.headers["retry-after"]) >= 1
    assert worker.status()["backlog"] == 8
    assert len(sink.take(8)) == 8  # nobody got any of the refused events
    lab.publish("in", more[:2])
    lab.publish("in", [event(id="one more")], expect=429)
    problem = worker.invoke(1, mode="async", expect=429)
    assert problem["reason"] == "INBOX_FULL"
    worker.verb("start")
    worker.until_idle()
    assert lab.publish("in", more)["duplicates"] == 2


def test_full_inbox_opens_at_its_low_mark(lab):
    worker = lab.worker("a", ECHO, topic="in", start=False, inbox={"maxCount": 10})
    lab.send("in", *range(10))
    lab.publish("in", [event(id="x")], expect=429)
    waiting = worker.tasks()
    lab.client.post(f"/v1/tasks/{waiting[0]['id']}:cancel")
    lab.publish("in", [event(id="x")], expect=429)  # 9 of 10: between the marks
    for task in waiting[1:3]:
        lab.client.post(f"/v1/tasks/{task['id']}:cancel")
    lab.publish("in", [event(id="x")])


def test_inbox_is_limited_in_bytes_too(lab):
    inbox = {"maxBytes": "10KiB"}
    lab.worker("a", ECHO, topic="in", start=False, inbox=inbox)
    lab.publish("in", [event("x" * 8000, id=1)])
    lab.publish("in", [event("x" * 8000, id=2)], expect=429)


def test_full_inbox_can_give_up_the_newest(lab):
    inbox = {"maxCount": 5, "onFull": "dead-letter"}
    worker = lab.worker("a", ECHO, topic="in", start=False, inbox=inbox)
    lab.send("in", *range(8))
    worker.until(lambda status: status["backlog"] == 5)
    assert {t["eventId"] for t in worker.tasks(status="SCHEDULED")} == {"0", "1", "2", "3", "4"}
    letters = worker.dead_letters()
    assert {letter["event"]["id"] for letter in letters} == {"5", "6", "7"}
    assert {letter["reason"] for letter in letters} == {"INBOX_OVERFLOW"}


def test_full_inbox_can_drop_the_oldest(lab):
    inbox = {"maxCount": 5, "onFull": "drop-oldest"}
    worker = lab.worker("a", ECHO, topic="in", start=False, inbox=inbox)
    lab.send("in", *range(8))
    worker.until(lambda status: status["backlog"] == 5)
    assert {t["eventId"] for t in worker.tasks(status="SCHEDULED")} == {"3", "4", "5", "6", "7"}
    assert {t["status"] for t in worker.tasks() if t["eventId"] in "012"} == {"SKIPPED"}
    assert worker.dead_letters() == []


def test_producer_waits_for_a_full_consumer_and_nothing_is_lost(lab):
    out = lab.sink("out")
    slow = """
    import time
    def process(event):
        time.sleep(0.002)
        return event.data
    """
    consumer = lab.worker("slow", slow, topic="mid", output="out", inbox={"maxCount": 20})
    producer = lab.worker("fast", ECHO, topic="in", output="mid")
    lab.send("in", *range(1000))
    most = 0
    explained = set()
    while True:
        status = consumer.status()
        most = max(most, status["backlog"])
        explained.add(lab.client.get(f"{producer.path}:explain")["summary"])
        if status["tasksCompleted"] == 1000:
            break
    assert sorted(out.data(1000)) == list(range(1000))
    assert any("inbox is full" in summary for summary in explained)
    assert most < 700  # what was in the producer's hands when it had to wait may come on top


def test_ring_of_full_workers_goes_on(lab):
    """Two that feed each other, both full: if each waited for the other, none would move."""
    code = "def process(event): return event.data - 1 if event.data else None"
    ping = lab.worker("ping", code, topic="a", output="b", start=False, inbox={"maxCount": 5})
    pong = lab.worker("pong", code, topic="b", output="a", start=False, inbox={"maxCount": 5})
    lab.publish("a", [event(40, id=f"a{n}") for n in range(5)])
    lab.publish("b", [event(40, id=f"b{n}") for n in range(5)])
    ping.verb("start")
    pong.verb("start")
    expected = 5 * 41 * 2

    def both():
        return ping.status()["tasksCompleted"] + pong.status()["tasksCompleted"]

    until(lambda: both() == expected, what="all hops are made")


def test_producer_goes_on_when_its_full_consumer_is_deleted_or_enlarged(lab):
    producer = lab.worker("a", ECHO, topic="in", output="mid")
    first = lab.worker("first", ECHO, topic="mid", start=False, inbox={"maxCount": 2})
    lab.send("in", *range(10))
    lab.publish("in", [event(n, id=f"x{n}") for n in range(10)])
    producer.until(lambda status: status["backlog"] and not status["inFlight"])
    first.patch({"inbox": {"maxCount": 100}})
    producer.until_idle()
    first.patch({"inbox": {"maxCount": 2}})
    lab.publish("in", [event(n, id=f"y{n}") for n in range(10)])
    lab.publish("in", [event(n, id=f"z{n}") for n in range(10)])
    producer.until(lambda status: status["backlog"] and not status["inFlight"])
    lab.client.finish(lab.client.call("DELETE", first.path))
    producer.until_idle()


def test_worker_list_filters_and_orders(lab):
    for name, group in (("x", "g1"), ("y", "g2"), ("z", "g1")):
        lab.worker(name, ECHO, group=lab.name(group), topic="in")
    lab.client.post(f"/v1/workers/{lab.name('y')}:stop")
    in_group = lab.client.all("/v1/workers", filter=f'group = "{lab.name("g1")}"')
    assert [worker["name"] for worker in in_group] == [lab.name("x"), lab.name("z")]
    stopped = lab.client.all("/v1/workers", filter='state = "STOPPED"')
    assert [worker["name"] for worker in stopped] == [lab.name("y")]


def test_apply_is_idempotent_and_says_what_it_did(lab):
    made = lab.manifest("a", ECHO, topic="in")
    path = f"/v1/workers/{made['metadata']['name']}"
    assert lab.client.call("PUT", path, made, expect=201)["change"] == "created"
    assert lab.client.call("PUT", path, made, expect=200)["change"] == "unchanged"
    made["spec"]["retry"] = {"maximumAttempts": 2}
    applied = lab.client.call("PUT", path, made)
    assert applied["change"] == "changed"
    etag = applied["worker"]["etag"]
    lab.client.call("PUT", path, made, headers={"if-match": '"old"'}, expect=412)
    lab.client.call("PUT", path, made, headers={"if-match": f'"{etag}"'})
    lab.client.call("DELETE", path)


def test_manifest_with_many_faults_gets_all_of_them(lab):
    made = lab.manifest("a", ECHO, topic="in")
    made["spec"] |= {"retry": {"maximumAttempts": 0}, "inboxx": {}, "timeouts": {"start": "soon"}}
    with pytest.raises(ProblemError) as caught:
        lab.client.post("/v1/workers", made)
    pointers = {fault["pointer"] for fault in caught.value.body["errors"]}
    assert caught.value.status == 400
    assert pointers == {"spec.retry.maximumAttempts", "spec.inboxx", "spec.timeouts.start"}
