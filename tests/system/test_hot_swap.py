"""New code while events flow: none lost, none failed, none handled by the old after the new."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby

import pytest
from system_harness import Load, event, until

CODE = """
def process(event):
    return {{"v": {version}, "n": event.data["n"], "key": event.data["key"]}}
"""
SIMPLE = "def process(event): return {version}"


def code(version):
    return CODE.format(version=version)


def simple(version):
    return SIMPLE.format(version=version)


def is_part_of(short, whole):
    """Tell whether *short* can be made from *whole* by leaving things out."""
    rest = iter(whole)
    return all(item in rest for item in short)


def check_outputs(records, sent, versions):
    """Each event came out once; per key the versions took turns in their order."""
    assert sorted(record["n"] for record in records) == list(range(sent))
    by_key = defaultdict(list)
    for record in records:
        by_key[record["key"]].append(record["v"])
    for key, seen in by_key.items():
        turns = [version for version, _ in groupby(seen)]
        assert is_part_of(turns, versions), (key, turns)
    assert {record["v"] for record in records} == set(versions)


@pytest.mark.parametrize("ordering", ["none", "key"])
@pytest.mark.parametrize("executors", [1, 2])
def test_swap_at_a_thousand_events_a_second(lab, ordering, executors):
    sink = lab.sink("out", lean=True)
    spec = {"ordering": {"mode": ordering}, "concurrency": {"executors": executors}}
    worker = lab.worker("a", code(1), topic="in", output="out", **spec)
    with Load(lab.service, lab.topic("in")) as load:
        load.pass_by(300)
        second = worker.put_code(code(2))
        assert second["state"] == "CURRENT"
        load.pass_by(300)
        worker.put_code("raise SystemExit", expect=422)
        load.pass_by(300)
        worker.put_code(code(3))
        load.pass_by(300)
        worker.run("rollback", {"version": second["id"]})
        load.pass_by(300)
        worker.verb("restart")
        load.pass_by(300)
    check_outputs(sink.take(load.sent), load.sent, [1, 2, 3, 2])
    status = worker.status()
    assert (status["tasksFailed"], status["restarts"]) == (0, 0)
    assert status["currentVersion"] == second["id"]
    assert {task["attempt"] for task in worker.tasks()} == {1}
    print(f"\n{load.sent} events through 4 swaps ({ordering}, {executors} executors)")


def test_swap_under_full_load_keeps_every_event(lab):
    sink = lab.sink("out", lean=True)
    inbox = {"maxCount": 100_000}
    worker = lab.worker("a", code(1), topic="in", output="out", inbox=inbox)
    count = 6000 if lab.service.sidecar is None else 1500
    events = [
        event({"n": n, "key": f"k{n % 7}"}, id=n, partitionkey=f"k{n % 7}") for n in range(count)
    ]
    for start in range(0, count, 500):
        lab.publish("in", events[start : start + 500])
    worker.put_code(code(2))
    check = sink.take(count)
    assert sorted(record["n"] for record in check) == list(range(count))
    assert worker.status()["tasksFailed"] == 0


BAD = {
    "syntax": ("def process(event:\n", "worker.py:1"),
    "no handler": ("x = 1", "none of"),
    "start fails": ("def process(e): pass\ndef start(c): 1/0", "ZeroDivisionError"),
    "dies": ("import os; os._exit(4)", "exited with 4"),
    "never ready": ("while True: pass", "not ready within"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_version_is_rejected_and_the_old_one_runs_on(lab, kind):
    bad, words = BAD[kind]
    worker = lab.worker("a", simple(1), timeouts={"start": "1s"})
    [before] = worker.executors()
    problem = worker.put_code(bad, expect=422)
    assert words in problem["detail"]
    [after] = worker.executors()
    assert after["pid"] == before["pid"]
    assert worker.invoke()["outputs"][0]["data"] == 1
    status = worker.status()
    assert (status["state"], status["restarts"]) == ("RUNNING", 0)
    versions = lab.client.all(f"{worker.path}/versions")
    rejected = [version for version in versions if version["state"] == "REJECTED"]
    assert len(rejected) == 1
    assert words in rejected[0]["message"]
    worker.apply(bad, expect=422, timeouts={"start": "1s"})
    assert worker.invoke()["outputs"][0]["data"] == 1


def test_version_that_dies_right_after_it_was_ready_does_not_end_the_worker(lab):
    code = """
    import os, threading
    def start(context):
        threading.Timer(0.02, os._exit, (3,)).start()
    def process(event):
        return 2
    """
    restart = {"backoffInitial": "10ms", "backoffMax": "10ms", "startLimitBurst": 3}
    worker = lab.worker("a", simple(1), restart=restart)
    worker.put_code(code, expect=(201, 422))
    worker.until_state("FAILED", "RUNNING")
    worker.put_code(simple(3))
    worker.until_state("RUNNING")
    assert worker.invoke()["outputs"][0]["data"] == 3


def test_version_kept_beside_can_be_promoted_and_deleted(lab):
    worker = lab.worker("a", simple(1))
    first = worker.status()["currentVersion"]
    beside = lab.client.post(
        f"{worker.path}/versions?promote=false",
        simple(2).encode(),
        headers={"content-type": "text/x-python"},
    )
    assert worker.invoke()["outputs"][0]["data"] == 1
    assert worker.invoke(version=beside["id"])["outputs"][0]["data"] == 2
    assert worker.invoke()["outputs"][0]["data"] == 1
    done = lab.client.finish(lab.client.post(f"{worker.path}/versions/{beside['id']}:promote"))
    assert done["error"] is None
    assert worker.invoke()["outputs"][0]["data"] == 2
    code = lab.client.get(f"{worker.path}/code")
    assert code == simple(2).encode()
    assert lab.client.get(f"{worker.path}/code?version={first}") == simple(1).encode()
    lab.client.call("DELETE", f"{worker.path}/versions/{beside['id']}", expect=409)
    path = f"{worker.path}/versions/{first}"
    until(lambda: lab.client.send("DELETE", path)[0] == 204, what="the old one has drained")
    assert len(lab.client.all(f"{worker.path}/versions")) == 1


def test_rollback_goes_to_the_version_before(lab):
    worker = lab.worker("a", simple(1))
    assert worker.verb("rollback", {}, expect=404)["reason"] == "VERSION_NOT_FOUND"
    worker.put_code(simple(2))
    worker.run("rollback", {})
    assert worker.invoke()["outputs"][0]["data"] == 1
    assert worker.verb("rollback", {"version": "nope"}, expect=404)


def test_same_code_again_changes_nothing(lab):
    worker = lab.worker("a", simple(1))
    [before] = worker.executors()
    version = worker.put_code(simple(1))
    assert version["id"] == worker.status()["currentVersion"]
    assert worker.executors()[0]["pid"] == before["pid"]


def test_change_of_policy_alone_does_not_restart_executors(lab):
    worker = lab.worker("a", simple(1), topic="in")
    worker.verb("pause")
    [before] = worker.executors()
    changed = worker.patch({"inbox": {"maxCount": 1}, "dedupe": {"window": 0}})
    assert changed["change"] == "changed"
    assert worker.executors()[0]["pid"] == before["pid"]
    lab.publish("in", [event(1, id=1)])
    if lab.service.sidecar is None:  # else the subscription closes, see tests/dapr
        lab.publish("in", [event(1, id=1)], expect=429)
    other = worker.patch({"env": {"A": "1"}})
    assert other["worker"]["status"]["currentVersion"] != ""
    until(lambda: worker.executors()[0]["pid"] != before["pid"], what="env needs a new executor")


def test_triggers_can_change_while_it_runs(lab):
    sink = lab.sink("out")
    worker = lab.worker("a", "def process(e): return e.data", topic="old", output="out")
    worker.patch({"triggers": [{"topic": lab.topic("new")}]})
    assert lab.publish("old", [event(1, id="old")])["deliveries"] == 0
    assert lab.publish("new", [event(2, id="new")])["deliveries"] == 1
    assert sink.data(1) == [2]


def test_long_attempt_ends_on_the_version_it_began_on(lab):
    slow = """
    import time
    def process(event):
        time.sleep(0.6 if event.data == "slow" else 0)
        return [VERSION, event.data]
    """
    sink = lab.sink("out")
    worker = lab.worker("a", slow.replace("VERSION", "1"), topic="in", output="out")
    lab.publish("in", [event("slow", id="s")])
    worker.until(lambda status: status["inFlight"] == 1)
    worker.put_code(slow.replace("VERSION", "2"))
    lab.publish("in", [event("quick", id="q")])
    assert sorted(sink.data(2)) == [[1, "slow"], [2, "quick"]]
    assert {task["attempt"] for task in worker.tasks()} == {1}


def test_attempt_that_outlives_the_grace_period_runs_again_on_the_new_version(lab):
    slow = """
    import time
    def process(event):
        time.sleep(SECONDS)
        return "SECONDS"
    """
    sink = lab.sink("out")
    drain = {"gracePeriod": "100ms", "killAfter": "100ms"}
    worker = lab.worker("a", slow.replace("SECONDS", "30"), topic="in", output="out", drain=drain)
    lab.send("in", 1)
    worker.until(lambda status: status["inFlight"] == 1)
    worker.put_code(slow.replace("SECONDS", "0"))
    assert sink.data(1) == ["0"]
    worker.until_idle()
    [task] = worker.tasks()
    assert (task["attempt"], task["crashes"], task["status"]) == (1, 0, "COMPLETED")


@pytest.mark.parametrize("state", ["STOPPED", "PAUSED"])
def test_swap_keeps_the_desired_state(lab, state):
    worker = lab.worker("a", simple(1), topic="in")
    worker.verb("stop" if state == "STOPPED" else "pause")
    worker.put_code(simple(2))
    worker.until_state(state)
    worker.put_code("nonsense(", expect=422)
    worker.until_state(state)
    worker.verb("start")
    assert worker.invoke()["outputs"][0]["data"] == 2


def test_executor_is_recycled_after_its_tasks_while_events_flow(lab):
    sink = lab.sink("out")
    code = "import uuid\nme = str(uuid.uuid4())\ndef process(event): return me"
    worker = lab.worker("a", code, topic="in", output="out", recycle={"maxTasks": 100})
    for start in range(0, 1000, 50):
        lab.publish("in", [event(n, id=n) for n in range(start, start + 50)])
    assert len(set(sink.data(1000))) >= 3
    status = worker.status()
    assert (status["tasksFailed"], status["restarts"]) == (0, 0)
    assert {task["attempt"] for task in worker.tasks()} == {1}


def test_versions_kept_are_bounded(lab):
    worker = lab.worker("a", simple(0))
    for version in range(1, 14):
        worker.put_code(simple(version))
    assert len(lab.client.all(f"{worker.path}/versions")) == 10
    assert worker.invoke()["outputs"][0]["data"] == 13
