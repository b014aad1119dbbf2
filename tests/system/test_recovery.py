"""What survives the end of the service, in good order or by kill -9.

Each scenario is a generator: what comes before its `yield` happens before the restart, what comes
after it afterwards, in the lab that the `yield` gives. All share one restart of each kind.
"""

from __future__ import annotations

import json
from datetime import datetime

import kill_nine
import pytest
from system_harness import Lab, Service, Worker, event, until

ECHO = "def process(event): return event.data"
FAILING = "def process(event): raise ValueError(event.data)"
HOUR = {"initialInterval": "1h", "maximumInterval": "1h", "jitter": "none"}
QUICK = {"gracePeriod": "100ms", "killAfter": "100ms"}
PYTHON = {"content-type": "text/x-python"}


def moment(text):
    return datetime.fromisoformat(text)


def declarations(lab):
    worker = lab.worker("a", ECHO, topic="in", retry={"maximumAttempts": 7}, env={"A": "1"})
    metadata = {"labels": {"tier": "gold"}, "annotations": {"n": "1"}}
    lab.client.call("PATCH", worker.path, {"metadata": metadata})
    worker.put_code(ECHO + "\n")
    worker.put_code("broken(", expect=422)
    before = worker.get()
    versions = lab.client.all(f"{worker.path}/versions")
    assert {version["state"] for version in versions} == {"CURRENT", "DRAINED", "REJECTED"}
    lab = yield
    worker = Worker(lab, worker.name)
    worker.until_state("RUNNING")
    after = worker.get()
    for field in ("uid", "etag", "generation", "labels", "annotations", "spec", "createdAt"):
        assert after[field] == before[field], field
    assert after["status"]["currentVersion"] == before["status"]["currentVersion"]
    assert lab.client.all(f"{worker.path}/versions") == versions
    assert worker.invoke(5)["outputs"][0]["data"] == 5
    worker.run("rollback", {})
    assert lab.client.get(f"{worker.path}/code") == ECHO.encode()


def desired_states(lab):
    workers = {}
    for verb, state in (("start", "RUNNING"), ("pause", "PAUSED"), ("stop", "STOPPED")):
        workers[state] = lab.worker(verb, ECHO, topic="in")
        workers[state].verb(verb)
    lab.send("in", 1)
    lab = yield
    for state, old in workers.items():
        worker = Worker(lab, old.name)
        worker.until_state(state)
        assert worker.get()["desiredState"] == state
        if state != "RUNNING":
            assert worker.status()["backlog"] == 1
            worker.verb("start")
        worker.until_idle()


def delays_and_attempts(lab):
    worker = lab.worker("a", FAILING, topic="in", retry=HOUR)
    lab.send("in", "x")
    worker.until(lambda status: status["delayed"] == 1)
    [before] = worker.tasks()
    lab = yield
    worker = Worker(lab, worker.name)
    [after] = worker.tasks()
    assert after["attempt"] == 1
    assert after["error"]["type"] == "ValueError"
    assert abs((moment(after["dueAt"]) - moment(before["dueAt"])).total_seconds()) < 0.01
    assert worker.status()["delayed"] == 1
    worker.patch({"retry": {"maximumAttempts": 2}})
    lab.client.post(f"/v1/tasks/{after['id']}:retry")
    worker.until_idle()
    assert worker.dead_letters()[0]["attempts"] == 2


def attempt_under_way(lab):
    code = """
    import time
    def process(event, context):
        print("attempt", context.attempt, flush=True)
        time.sleep(300 if event.data == "long" else 0)
    """
    worker = lab.worker("a", code, topic="in", drain=QUICK)
    lab.publish("in", [event("quick", id="quick")])
    worker.until(lambda status: status["tasksCompleted"] == 1)
    lab.publish("in", [event("long", id="long")])
    until(lambda: worker.texts().count("attempt 1") == 2, what="the long one has begun")
    lab.publish("in", [event("quick", id="later")])
    lab = yield
    worker = Worker(lab, worker.name)
    until(lambda: "attempt 1" in worker.texts(), what="it runs again, at no cost")
    task = next(task for task in worker.tasks() if task["eventId"] == "long")
    assert (task["status"], task["attempt"], task["crashes"]) == ("IN_PROGRESS", 1, 0)


def crashes(lab):
    code = "import os\ndef process(event): os._exit(1)"
    restart = {"backoffInitial": "60s", "backoffMax": "60s"}
    worker = lab.worker("a", code, topic="in", restart=restart)
    lab.send("in", 1)
    worker.until_state("BACKOFF")
    assert worker.tasks()[0]["crashes"] == 1
    lab = yield
    worker = Worker(lab, worker.name)
    until(lambda: worker.tasks()[0]["crashes"] == 2, what="it crashed a second time")


def dead_letters_and_history(lab):
    worker = lab.worker("a", FAILING, topic="in", retry={"maximumAttempts": 1})
    lab.send("in", "x", "y")
    worker.until(lambda status: status["deadLetters"] == 2)
    letters, tasks = worker.dead_letters(), worker.tasks()
    assert len(letters) == len(tasks) == 2
    lab = yield
    worker = Worker(lab, worker.name)
    assert worker.dead_letters() == letters
    assert worker.tasks() == tasks
    assert worker.status()["deadLetters"] == 2


def duplicates(lab):
    worker = lab.worker("a", ECHO, topic="in")
    lab.send("in", *range(10))
    worker.until_idle()
    events = [event(n, id=n) for n in range(10)]
    topic = lab.topic("in")
    lab = yield
    answer = lab.client.publish(topic, events)
    if lab.service.sidecar is None:  # else they are recognized when they come back
        assert answer["duplicates"] == 10
    worker = Worker(lab, worker.name)
    lab.client.publish(topic, [event(10, id=10)])
    until(lambda: "10" in {task["eventId"] for task in worker.tasks()})
    assert len(worker.tasks()) == 11


def fencing_tokens(lab):
    code = "def process(event, context): return context.fencing_token"
    worker = lab.worker("a", code, group=lab.name("g"))
    before = [worker.invoke()["outputs"][0]["data"] for _ in range(3)]
    lab = yield
    worker = Worker(lab, worker.name)
    worker.until_state("RUNNING")
    after = [worker.invoke()["outputs"][0]["data"] for _ in range(3)]
    assert before + after == sorted(before + after)
    assert after[0] > before[-1]


def version_of_a_redriven_task(lab):
    worker = lab.worker("a", FAILING, topic="in", retry={"maximumAttempts": 1})
    lab.send("in", "x")
    worker.until(lambda status: status["deadLetters"] == 1)
    slow = b"import time\ndef process(event): time.sleep(1)"
    beside = lab.client.post(f"{worker.path}/versions?promote=false", slow, headers=PYTHON)
    worker.verb("pause")
    selection = {"worker": worker.name, "targetVersion": beside["id"]}
    lab.client.finish(lab.client.post("/v1/deadLetters:redrive", selection))
    lab = yield
    worker = Worker(lab, worker.name)
    worker.verb("start")
    worker.until_idle()
    done = [task for task in worker.tasks() if task["status"] == "COMPLETED"]
    assert [task["version"] for task in done] == [beside["id"]]


def idempotency_key(lab):
    body = lab.manifest("a", ECHO)
    headers = {"idempotency-key": "create-a"}
    first = lab.client.post("/v1/workers", body, headers=headers)
    lab = yield
    again = lab.client.post("/v1/workers", body, headers=headers)
    assert again["uid"] == first["uid"]
    other = lab.manifest("b", ECHO)
    problem = lab.client.post("/v1/workers", other, headers=headers, expect=422)
    assert problem["reason"] == "IDEMPOTENCY_KEY_REUSED"


def many_waiting_tasks(lab):
    worker = lab.worker("a", ECHO, topic="in", start=False, inbox={"maxCount": 100_000})
    count = 20_000 if lab.service.sidecar is None else 2000
    for start in range(0, count, 2000):
        lab.publish("in", [event(n, id=n) for n in range(start, start + 2000)])
    lab = yield
    worker = Worker(lab, worker.name)
    worker.until(lambda status: status["backlog"] == count)
    print(f"\n{count} tasks recovered in {lab.service.wait_line('recovered')['took_ms']} ms")
    worker.verb("start")
    worker.until(lambda status: status["tasksCompleted"] == count, timeout_s=60)


SCENARIOS = {
    scenario.__name__.replace("_", " "): scenario
    for scenario in (
        declarations,
        desired_states,
        delays_and_attempts,
        attempt_under_way,
        crashes,
        dead_letters_and_history,
        duplicates,
        fencing_tokens,
        version_of_a_redriven_task,
        idempotency_key,
        many_waiting_tasks,
    )
}


@pytest.fixture(scope="module", params=["kill", "stop"])
def reborn(request, tmp_path_factory):
    """Play the first halves, end the service and start it again; gives what is left to do."""
    state = tmp_path_factory.mktemp("state")
    first = Service.start(state).wait_ready()
    begun = {}
    for name, scenario in SCENARIOS.items():
        lab = Lab(first)
        begun[name] = scenario(lab)
        next(begun[name])
        lab.client.close()
    getattr(first, request.param)()
    second = Service.start(state).wait_ready()
    yield second, begun
    second.stop()


@pytest.mark.parametrize("name", SCENARIOS)
def test_survives(reborn, name):
    service, begun = reborn
    lab = Lab(service)
    with pytest.raises(StopIteration):
        begun[name].send(lab)
    lab.client.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kill_nine_at_random_moments_loses_nothing(tmp_path):
    figures = kill_nine.play(tmp_path, rounds=8, seed=7)
    print(f"\n8 kills: {json.dumps(figures)}")
    assert figures["events"] >= 100
