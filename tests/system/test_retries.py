"""Attempts that fail: tried again, given up, kept as dead letters, redriven, purged, published."""

from __future__ import annotations

from datetime import datetime

from system_harness import event, until

FAILING = """
def process(event, context):
    raise ValueError(f"attempt {context.attempt} of {context.max_attempts}")
"""
BY_DATA = """
class Broken(Exception): pass
class Busy(Exception): pass
def process(event):
    kind = {"broken": Broken, "busy": Busy}.get(event.data)
    if kind:
        raise kind("it is " + event.data)
    return "handled by v1"
"""
MENDED = 'def process(event, context): return "handled by v2"'
NOW = {"initialInterval": 0, "jitter": "none"}


def moment(text):
    return datetime.fromisoformat(text)


def test_task_is_tried_again_until_its_attempts_are_used_up(lab):
    retry = {**NOW, "maximumAttempts": 3}
    worker = lab.worker("a", FAILING, topic="in", retry=retry)
    lab.publish("in", [event({"x": 1}, id="bad", subject="s")])
    worker.until_idle()
    [task] = worker.tasks()
    assert (task["status"], task["attempt"], task["maxAttempts"]) == ("FAILED", 3, 3)
    [letter] = worker.dead_letters()
    assert letter["reason"] == "ATTEMPTS_EXHAUSTED"
    assert (letter["attempts"], letter["crashes"]) == (3, 0)
    assert letter["error"]["type"] == "ValueError"
    assert letter["error"]["message"] == "attempt 3 of 3"
    assert 'raise ValueError(f"attempt' in letter["error"]["traceback"]
    assert (letter["event"]["data"], letter["event"]["subject"]) == ({"x": 1}, "s")
    assert letter["topic"] == lab.topic("in")
    assert lab.client.get(f"/v1/deadLetters/{letter['id']}") == letter
    status = worker.status()
    assert (status["tasksFailed"], status["deadLetters"]) == (1, 1)
    assert "ValueError: attempt 3" in status["lastError"]


def test_attempts_keep_the_fixed_distance(lab):
    code = """
    import time
    def process(event, context):
        print("at", time.time(), flush=True)
        raise ValueError
    """
    retry = {"backoff": "fixed", "initialInterval": "200ms", "jitter": "none", "maximumAttempts": 3}
    worker = lab.worker("a", code, topic="in", retry=retry)
    lab.send("in", 1)
    worker.until_idle()
    first, second, third = (float(t.split()[1]) for t in worker.texts() if t.startswith("at"))
    assert second - first >= 0.199
    assert third - second >= 0.199


def test_delayed_task_shows_when_it_is_due_and_can_be_run_now(lab):
    code = """
    def process(event, context):
        if context.attempt == 1:
            raise ValueError("once")
        return context.attempt
    """
    sink = lab.sink("out")
    retry = {"initialInterval": "1h", "maximumInterval": "1h", "jitter": "none"}
    worker = lab.worker("a", code, topic="in", output="out", retry=retry)
    lab.send("in", 1)
    worker.until(lambda status: status["delayed"] == 1)
    [task] = worker.tasks(status="SCHEDULED")
    assert task["attempt"] == 1
    assert task["error"]["message"] == "once"
    wait = moment(task["dueAt"]) - moment(task["scheduledAt"])
    assert 3590 < wait.total_seconds() < 3700
    lab.client.post(f"/v1/tasks/{task['id']}:retry")
    assert sink.data(1) == [2]
    lab.client.post(f"/v1/tasks/{task['id']}:retry", expect=409)


def test_error_types_that_are_not_retried(lab):
    retry = {"initialInterval": "1h", "maximumInterval": "1h"}
    retry["nonRetryableErrorTypes"] = ["Broken", "Busy"]
    worker = lab.worker("a", BY_DATA, topic="in", retry=retry)
    lab.send("in", "broken")
    worker.until_idle()
    [letter] = worker.dead_letters()
    assert (letter["reason"], letter["attempts"]) == ("NON_RETRYABLE", 1)
    [task] = worker.tasks()
    assert task["status"] == "FAILED_WITH_TERMINAL_ERROR"


def test_waiting_task_can_be_canceled(lab):
    retry = {"initialInterval": "1h", "maximumInterval": "1h", "jitter": "none"}
    worker = lab.worker("a", FAILING, topic="in", retry=retry)
    lab.send("in", 1)
    worker.until(lambda status: status["delayed"] == 1)
    [task] = worker.tasks()
    done = lab.client.post(f"/v1/tasks/{task['id']}:cancel")
    assert done["status"] == "CANCELED"
    assert worker.status()["backlog"] == 0
    assert worker.dead_letters() == []
    lab.client.post(f"/v1/tasks/{task['id']}:cancel", expect=409)


def dead(lab, **spec):
    """Make a worker with six dead letters: three broken, two busy, and one busy of another type."""
    worker = lab.worker("a", BY_DATA, topic="in", retry={**NOW, "maximumAttempts": 1}, **spec)
    lab.send("in", "broken", "broken", "broken", "busy", "busy")
    lab.publish("in", [event("busy", id="other", type="other.type")])
    worker.until(lambda status: status["deadLetters"] == 6)
    return worker


def redrive(lab, **selection):
    done = lab.client.finish(lab.client.post("/v1/deadLetters:redrive", selection))
    assert done["error"] is None
    return done["result"]["count"]


def test_dead_letters_are_found_by_what_they_are(lab):
    worker = dead(lab)
    assert len(worker.dead_letters()) == 6
    assert len(worker.dead_letters(errorType="Broken")) == 3
    assert len(worker.dead_letters(errorType="Busy", eventType="other.type")) == 1
    assert len(worker.dead_letters(reason="CRASHED")) == 0
    pages, token = [], ""
    while True:
        query = f"/v1/deadLetters?worker={worker.name}&pageSize=4&pageToken={token}"
        page = lab.client.get(query)
        pages.append([letter["id"] for letter in page["items"]])
        token = page["nextPageToken"]
        if not token:
            break
    assert [len(page) for page in pages] == [4, 2]
    assert len({letter for page in pages for letter in page}) == 6


def test_one_dead_letter_is_redriven_with_its_attempts_anew(lab):
    sink = lab.sink("out")
    worker = dead(lab, outputs={"topic": lab.topic("out")})
    worker.put_code(MENDED)
    letter = worker.dead_letters(errorType="Broken")[0]
    assert redrive(lab, ids=[letter["id"]]) == 1
    [output] = sink.take(1)
    assert output["causationid"] == letter["event"]["id"]
    assert output["wmattempt"] == 1
    assert len(worker.dead_letters()) == 5
    assert letter["id"] not in {left["id"] for left in worker.dead_letters()}
    lab.client.post("/v1/deadLetters:redrive", {"ids": [letter["id"]]}, expect=404)


def test_dead_letters_are_redriven_by_filter_and_what_fails_again_is_back(lab):
    sink = lab.sink("out")
    worker = dead(lab, outputs={"topic": lab.topic("out")})
    assert redrive(lab, worker=worker.name, errorType="Busy") == 3
    worker.until(lambda status: status["tasksFailed"] == 9)
    assert len(worker.dead_letters()) == 6
    worker.put_code(MENDED)
    assert redrive(lab, worker=worker.name) == 6
    assert sink.data(6) == ["handled by v2"] * 6
    assert worker.dead_letters() == []


def test_dead_letters_are_redriven_to_a_version_that_is_not_current(lab):
    sink = lab.sink("out")
    worker = dead(lab, outputs={"topic": lab.topic("out")})
    version = lab.client.post(
        f"{worker.path}/versions?promote=false",
        MENDED.encode(),
        headers={"content-type": "text/x-python"},
    )
    assert version["state"] == "INACTIVE"
    selection = {"worker": worker.name, "errorType": "Broken", "targetVersion": version["id"]}
    assert redrive(lab, **selection) == 3
    assert {(r["data"], r["wmversion"]) for r in sink.take(3)} == {("handled by v2", version["id"])}
    lab.publish("in", [event("fine", id="fine")])
    assert sink.data(4)[-1] == "handled by v1"
    lone = lambda: len(worker.executors()) == 1  # noqa: E731
    until(lone, what="the side version's executor is ended when nothing is left for it")
    lab.publish("in", [event("fine", id="fine again")])
    assert sink.data(5)[-1] == "handled by v1"


def test_dead_letters_are_redriven_at_a_rate(lab):
    code = """
    import time
    from workmanager_executor import Drop
    def process(event, context):
        print("at", time.time())
        if not event.data:
            raise Drop
        raise ValueError
    """
    worker = lab.worker("a", code, topic="in", retry={"maximumAttempts": 1})
    lab.send("in", *[1] * 10)
    worker.until(lambda status: status["deadLetters"] == 10)
    before = len(worker.texts())
    assert redrive(lab, worker=worker.name, maxRate=20) == 10
    worker.until(lambda status: status["tasksFailed"] == 20)
    times = [float(text.split()[1]) for text in worker.texts()[before:]]
    assert times[-1] - times[0] >= 0.4  # 10 of them at 20 a second


def test_purge_deletes_the_chosen_ones(lab):
    worker = dead(lab)
    selection = {"worker": worker.name, "errorType": "Broken"}
    assert lab.client.post("/v1/deadLetters:purge", selection) == {"count": 3}
    left = worker.dead_letters()
    assert {letter["error"]["type"] for letter in left} == {"Busy"}
    lab.client.post("/v1/deadLetters:purge", {"ids": [left[0]["id"]]})
    assert len(worker.dead_letters()) == 2


def test_redrive_refuses_what_it_does_not_know(lab):
    post = lab.client.post
    post("/v1/deadLetters:redrive", {"ids": ["nope"]}, expect=404)
    post("/v1/deadLetters:redrive", {"worker": "nope"}, expect=404)
    post("/v1/deadLetters:redrive", {"targetVersion": "x"}, expect=400)
    post("/v1/deadLetters:redrive", {"maxRate": 0}, expect=400)
    worker = lab.worker("a", MENDED)
    body = {"worker": worker.name, "targetVersion": "x"}
    assert post("/v1/deadLetters:redrive", body, expect=404)["reason"] == "VERSION_NOT_FOUND"


def test_dead_letters_are_published_with_what_became_of_them(lab):
    alarms = lab.sink("alarms", dedupe={"window": "1h"})
    code = """
    def process(event):
        raise ValueError("line one\\nline two" + "!" * 2000)
    """
    spec = {"retry": {**NOW, "maximumAttempts": 2}, "deadLetter": {"topic": lab.topic("alarms")}}
    first = lab.worker("first", code, topic="in", **spec)
    second = lab.worker("second", code, topic="in", **spec)
    lab.publish("in", [event({"x": 1}, id="e", subject="s", tenant="acme")])
    seen = alarms.take(2)
    assert {record["wmworker"] for record in seen} == {first.name, second.name}
    record = seen[0]
    assert (record["id"], record["source"], record["type"]) == ("e", "/tests", "test.made")
    assert (record["data"], record["subject"], record["tenant"]) == ({"x": 1}, "s", "acme")
    assert record["wmreason"] == "ATTEMPTS_EXHAUSTED"
    assert record["wmerrortype"] == "ValueError"
    assert record["wmerrormessage"].startswith("line one line two!")
    assert len(record["wmerrormessage"]) == 1024
    assert (record["wmattempts"], record["wmcrashes"]) == (2, 0)
    by_name = {worker.name: worker for worker in (first, second)}
    [letter] = by_name[record["wmworker"]].dead_letters()
    assert record["wmtask"] == letter["id"]
    assert record["wmversion"] == letter["version"]
    moment(record["wmfailedtime"])
    redrive(lab, worker=first.name)
    assert alarms.take(3)[2]["wmworker"] == first.name


def test_dead_letter_topics_in_a_ring_come_to_rest(lab):
    spec = {"retry": {"maximumAttempts": 1}, "dedupe": {"window": 0}}
    ping = lab.worker("ping", FAILING, topic="a", deadLetter={"topic": lab.topic("b")}, **spec)
    pong = lab.worker("pong", FAILING, topic="b", deadLetter={"topic": lab.topic("a")}, **spec)
    lab.send("a", 1)
    pong.until(lambda status: status["deadLetters"] == 1)
    pong.until_idle()
    ping.until_idle()
    assert (len(ping.tasks()), len(pong.tasks())) == (1, 1)
