"""The four time-outs: asked first, killed later; nobody pays but the one that was late."""

from __future__ import annotations

from time import monotonic

import pytest
from system_harness import event, until

ONCE = {"maximumAttempts": 1}
QUICK = {"killAfter": "200ms"}

SLEEPY_ASYNC = """
import asyncio
async def process(event, context):
    if event.data == "slow":
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("was asked to stop", flush=True)
            raise
    return event.data
"""
POLITE_SYNC = """
import time
def process(event, context):
    while event.data == "slow" and not context.cancelled:
        time.sleep(0.005)
    return "gave way" if event.data == "slow" else event.data
"""
DEAF_SYNC = """
def process(event):
    while event.data == "slow":
        pass
    return event.data
"""


def statuses(worker):
    return {task["eventId"]: task["status"] for task in worker.tasks()}


def test_async_handler_is_cancelled_at_its_time(lab):
    spec = {"timeouts": {"startToClose": "200ms"}, "retry": ONCE, "drain": QUICK}
    worker = lab.worker("a", SLEEPY_ASYNC, topic="in", **spec)
    [before] = worker.executors()
    lab.send("in", "slow", "quick")
    worker.until_idle()
    assert statuses(worker) == {"0": "TIMED_OUT", "1": "COMPLETED"}
    assert "was asked to stop" in worker.texts()
    [letter] = worker.dead_letters()
    assert (letter["reason"], letter["error"]["type"]) == ("TIMED_OUT", "Timeout")
    assert worker.executors()[0]["pid"] == before["pid"]
    assert worker.status()["restarts"] == 0


def test_sync_handler_that_looks_at_cancelled_can_give_way(lab):
    spec = {"timeouts": {"startToClose": "200ms"}, "retry": ONCE, "drain": {"killAfter": "10s"}}
    worker = lab.worker("a", POLITE_SYNC, **spec)
    [before] = worker.executors()
    assert worker.invoke("slow")["outputs"][0]["data"] == "gave way"
    assert worker.executors()[0]["pid"] == before["pid"]


def test_deaf_handler_is_killed_and_only_it_pays(lab):
    spec = {"timeouts": {"startToClose": "200ms"}, "retry": ONCE, "drain": QUICK}
    sink = lab.sink("out")
    worker = lab.worker("a", DEAF_SYNC, topic="in", output="out", **spec)
    lab.send("in", *["a"] * 10, "slow", *["b"] * 10)
    worker.until_idle()
    assert statuses(worker) == {str(i): "TIMED_OUT" if i == 10 else "COMPLETED" for i in range(21)}
    assert {(task["attempt"], task["crashes"]) for task in worker.tasks()} == {(1, 0)}
    assert sink.data(20) == ["a"] * 10 + ["b"] * 10
    worker.until_state("RUNNING")
    assert worker.status()["restarts"] == 0


def test_time_out_is_retried_like_any_failure(lab):
    code = """
    import time
    def process(event, context):
        while context.attempt == 1:
            pass
        return context.attempt
    """
    spec = {"timeouts": {"startToClose": "200ms"}, "drain": QUICK}
    spec["retry"] = {"initialInterval": 0, "jitter": "none"}
    sink = lab.sink("out")
    lab.worker("a", code, topic="in", output="out", **spec)
    lab.send("in", 1)
    assert sink.data(1) == [2]


def test_invoke_tells_of_a_time_out(lab):
    spec = {"timeouts": {"startToClose": "200ms"}, "drain": QUICK}
    worker = lab.worker("a", SLEEPY_ASYNC, **spec)
    problem = worker.invoke("slow", expect=504)
    assert problem["reason"] == "TASK_TIMEOUT"
    assert worker.dead_letters() == []


def test_invoke_that_does_not_wait_so_long_leaves_the_task_alone(lab):
    sink = lab.sink("out")
    code = """
    import asyncio
    async def process(event):
        await asyncio.sleep(0.4)
        return "late but there"
    """
    worker = lab.worker("a", code, output="out")
    problem = worker.invoke("x", expect=504, timeoutS=0.1)
    assert sink.data(1) == ["late but there"]
    worker.until_idle()
    task = lab.client.get(f"/v1/tasks/{problem['metadata']['task']}")
    assert task["status"] == "COMPLETED"


def test_silent_attempt_misses_its_heartbeat(lab):
    code = """
    import asyncio
    async def process(event, context):
        for _ in range(3):
            context.heartbeat()
            await asyncio.sleep(0.1)
        await asyncio.sleep(60 if event.data == "silent" else 0)
        return event.data
    """
    spec = {"timeouts": {"startToClose": "30s", "heartbeat": "400ms"}, "retry": ONCE}
    spec["concurrency"] = {"perExecutor": 4}
    worker = lab.worker("a", code, topic="in", **spec)
    lab.send("in", "beating", "silent", "beating")
    worker.until_idle()
    assert statuses(worker) == {"0": "COMPLETED", "1": "TIMED_OUT", "2": "COMPLETED"}
    assert "heartbeat" in worker.dead_letters()[0]["error"]["message"]


def test_attempt_that_runs_beside_others_is_cancelled_alone(lab):
    spec = {"timeouts": {"startToClose": "300ms"}, "retry": ONCE}
    spec["concurrency"] = {"perExecutor": 8}
    worker = lab.worker("a", SLEEPY_ASYNC, topic="in", **spec)
    lab.send("in", "slow", "quick", "slow", "quick")
    worker.until_idle()
    found = statuses(worker)
    assert found == {"0": "TIMED_OUT", "1": "COMPLETED", "2": "TIMED_OUT", "3": "COMPLETED"}


def test_one_that_blocks_the_loop_of_others_pays_alone(lab):
    code = """
    async def process(event):
        while event.data == "slow":
            pass
        return event.data
    """
    spec = {"timeouts": {"startToClose": "300ms"}, "retry": ONCE, "drain": QUICK}
    spec["concurrency"] = {"perExecutor": 8}
    worker = lab.worker("a", code, topic="in", start=False, **spec)
    lab.send("in", "a", "b", "slow", "c", "d", "e")
    worker.verb("start")
    worker.until_idle()
    assert statuses(worker) == {str(i): "TIMED_OUT" if i == 2 else "COMPLETED" for i in range(6)}
    assert {task["attempt"] for task in worker.tasks()} == {1}


@pytest.mark.parametrize(
    ("timeouts", "which"),
    [
        ({"scheduleToStart": "100ms"}, "scheduleToStart"),
        ({"scheduleToClose": "100ms", "startToClose": "50ms"}, "scheduleToClose"),
    ],
)
def test_task_that_waited_too_long_ends_without_an_attempt(lab, timeouts, which):
    code = "def process(event): return event.data"
    worker = lab.worker("a", code, topic="in", start=False, timeouts=timeouts)
    then = monotonic() + 0.2
    lab.send("in", 1, 2)
    until(lambda: monotonic() > then, what="the time-out is over")
    worker.verb("start")
    worker.until_idle()
    assert set(statuses(worker).values()) == {"TIMED_OUT"}
    letter = worker.dead_letters()[0]
    assert (letter["reason"], letter["attempts"]) == ("SCHEDULE_TIMEOUT", 0)
    assert which in letter["error"]["message"]


def test_schedule_to_close_ends_the_retries(lab):
    code = "def process(event): raise ValueError"
    retry = {"backoff": "fixed", "initialInterval": "150ms", "maximumAttempts": 1000}
    retry["jitter"] = "none"
    timeouts = {"scheduleToClose": "1s", "startToClose": "1s"}
    worker = lab.worker("a", code, topic="in", retry=retry, timeouts=timeouts)
    lab.send("in", 1)
    worker.until_idle()
    [letter] = worker.dead_letters()
    assert letter["reason"] == "SCHEDULE_TIMEOUT"
    assert 1 <= letter["attempts"] <= 7


def test_running_task_can_be_canceled(lab):
    worker = lab.worker("a", SLEEPY_ASYNC, topic="in")
    lab.send("in", "slow")
    worker.until(lambda status: status["inFlight"] == 1)
    [task] = worker.tasks(status="IN_PROGRESS")
    lab.client.post(f"/v1/tasks/{task['id']}:cancel")
    worker.until_idle()
    assert statuses(worker) == {"0": "CANCELED"}
    assert worker.dead_letters() == []
    assert "was asked to stop" in worker.texts()


def test_running_task_that_is_deaf_is_canceled_by_force(lab):
    worker = lab.worker("a", DEAF_SYNC, topic="in", drain=QUICK)
    lab.send("in", "slow", "quick")
    worker.until(lambda status: status["inFlight"] == 2)
    task = next(t for t in worker.tasks(status="IN_PROGRESS") if t["eventId"] == "0")
    lab.client.post(f"/v1/tasks/{task['id']}:cancel")
    worker.until_idle()
    assert statuses(worker) == {"0": "CANCELED", "1": "COMPLETED"}
    lab.publish("in", [event("again", id="x")])
    worker.until(lambda status: status["tasksCompleted"] == 2)
