"""Every form of a handler, through REST; and code that is refused leaves nothing behind."""

from __future__ import annotations

import sys

import pytest
from system_harness import event

SEED = """
def Process(event):
    assert set(event) >= {"id", "source", "type", "specversion", "data"}
    return [{"Type": "t", "Source": "s", "Data": event["data"]}, {"DATA": 2}, None, 3]
"""
CAMEL = """
def Process(event):
    return {"type": "t", "source": "s", "data": event["data"], "topic": TOPIC}
"""
SYNC = """
def process(event):
    return {"got": event.data}
"""
CONTEXT = """
def process(event, context):
    return {"got": event.data}
"""
ASYNC = """
import asyncio
async def process(event, context):
    await asyncio.sleep(0)
    return {"got": event.data}
"""
GENERATOR = """
def process(event):
    for i in range(event.data):
        yield i
"""
ASYNC_GENERATOR = """
import asyncio
async def process(event):
    for i in range(event.data):
        await asyncio.sleep(0)
        yield {"i": i}
"""
LIST = "def process(event): return [1, 2]"
EVENTS = """
from workmanager_executor import Event
def process(event):
    return [Event("a", 1, subject="s", partitionkey="p", level=7), Event(data=b"raw")]
"""
FORMS = {
    "seed": (SEED, 1, [1, 2, 3]),
    "sync": (SYNC, 1, [{"got": 1}]),
    "context": (CONTEXT, 1, [{"got": 1}]),
    "async": (ASYNC, 1, [{"got": 1}]),
    "generator": (GENERATOR, 3, [0, 1, 2]),
    "async generator": (ASYNC_GENERATOR, 2, [{"i": 0}, {"i": 1}]),
    "list is one value": (LIST, 0, [[1, 2]]),
    "nothing": ("def process(event): return None", 0, []),
}


@pytest.mark.parametrize("form", FORMS)
def test_form(lab, form):
    code, data, expected = FORMS[form]
    worker = lab.worker("a", code)
    assert [output["data"] for output in worker.invoke(data)["outputs"]] == expected


def test_seed_form_names_its_topic(lab):
    sink = lab.sink("elsewhere")
    lab.worker("a", f"TOPIC = {lab.topic('elsewhere')!r}" + CAMEL, topic="in", output="out")
    lab.send("in", "x")
    [record] = sink.take(1)
    assert (record["type"], record["source"], record["data"]) == ("t", "s", "x")


def test_events_carry_extensions_and_bytes(lab):
    first, second = lab.worker("a", EVENTS).invoke(0)["outputs"]
    assert (first["type"], first["subject"], first["partitionkey"]) == ("a", "s", "p")
    assert first["level"] == 7
    assert second["data_base64"] == "cmF3"
    assert second["datacontenttype"] == "application/octet-stream"


def test_batch_handler_settles_each_event_by_itself(lab):
    code = """
    from workmanager_executor import BatchResult, Drop, NonRetryable
    def process_batch(events, context):
        result = BatchResult(outputs=[{"of": len(events)}])
        for event in events:
            if event.data == "drop":
                result.failures[event] = Drop("not wanted")
            if event.data == "bad":
                result.failures[event.id] = NonRetryable("broken")
        return result
    """
    sink = lab.sink("out")
    batch = {"size": 4, "window": "10s"}
    worker = lab.worker("a", code, topic="in", output="out", batch=batch)
    lab.send("in", "good", "drop", "bad", "good")
    assert sink.data(1) == [{"of": 4}]
    worker.until_idle()
    statuses = {task["eventId"]: task["status"] for task in worker.tasks()}
    assert statuses == {
        "0": "COMPLETED",
        "1": "SKIPPED",
        "2": "FAILED_WITH_TERMINAL_ERROR",
        "3": "COMPLETED",
    }
    [letter] = worker.dead_letters()
    assert letter["event"]["data"] == "bad"


def test_start_and_stop_run_once_per_executor(lab):
    code = """
    import threading
    calls = []
    def start(context):
        calls.append("start " + context.worker)
    def process(event):
        return calls
    def stop(context):
        print("stopped after", calls)
    """
    worker = lab.worker("a", code)
    expected = [f"start {worker.name}"]
    assert worker.invoke()["outputs"][0]["data"] == expected
    assert worker.invoke()["outputs"][0]["data"] == expected
    worker.verb("stop")
    worker.until_state("STOPPED")
    assert f"stopped after {expected}" in worker.texts()


def test_async_start_and_stop(lab):
    code = """
    import asyncio
    state = {}
    async def start(context):
        state["loop"] = asyncio.get_running_loop()
    async def process(event):
        return state["loop"] is asyncio.get_running_loop()
    async def stop(context):
        print("stop in the same loop:", state["loop"] is asyncio.get_running_loop())
    """
    worker = lab.worker("a", code)
    assert worker.invoke()["outputs"][0]["data"] is True
    worker.verb("stop")
    worker.until_state("STOPPED")
    assert "stop in the same loop: True" in worker.texts()


def test_context_tells_about_the_attempt(lab):
    code = """
    def process(event, context):
        context.logger.warning("from the logger")
        print("from print")
        return {"task": context.task_id, "attempt": context.attempt, "worker": context.worker,
                "version": context.version, "group": context.group,
                "fence": context.fencing_token, "left": context.remaining(),
                "deadline": context.deadline.isoformat(), "cancelled": context.cancelled}
    """
    worker = lab.worker("a", code, group=lab.name("g"), timeouts={"startToClose": "20s"})
    done = worker.invoke()
    told = done["outputs"][0]["data"]
    assert told["task"] == done["task"]
    assert told["attempt"] == 1
    assert told["worker"] == worker.name
    assert told["version"] == worker.status()["currentVersion"]
    assert told["group"] == lab.name("g")
    assert told["fence"] >= 1
    assert 0 < told["left"] <= 20
    assert told["cancelled"] is False
    lines = {line["text"]: line for line in worker.lines()}
    assert lines["from the logger"]["level"] == "WARNING"
    assert lines["from the logger"]["task"] == done["task"]
    assert lines["from print"]["task"] == done["task"]


def test_outputs_of_a_failed_attempt_are_not_published(lab):
    code = """
    def process(event, context):
        context.publish({"attempt": context.attempt})
        if context.attempt < 3:
            raise ValueError("not yet")
        return {"done": True}
    """
    sink = lab.sink("out")
    retry = {"initialInterval": 0, "jitter": "none"}
    lab.worker("a", code, topic="in", output="out", retry=retry)
    lab.send("in", 0)
    assert sink.data(2) == [{"attempt": 3}, {"done": True}]


def test_heartbeats_keep_a_long_attempt_alive(lab):
    code = """
    import time
    def process(event, context):
        for _ in range(8):
            time.sleep(0.1)
            context.heartbeat({"at": 1})
        return "alive"
    """
    timeouts = {"startToClose": "10s", "heartbeat": "500ms"}
    worker = lab.worker("a", code, timeouts=timeouts)
    assert worker.invoke()["outputs"][0]["data"] == "alive"


def test_retry_after_nonretryable_and_drop(lab):
    code = """
    from workmanager_executor import Drop, NonRetryable, Retry
    def process(event, context):
        if event.data == "later" and context.attempt == 1:
            raise Retry("come back", after=0.01)
        if event.data == "never":
            raise NonRetryable("broken for good")
        if event.data == "drop":
            raise Drop("not for me")
        return context.attempt
    """
    sink = lab.sink("out")
    retry = {"initialInterval": "1h", "maximumInterval": "1h"}
    worker = lab.worker("a", code, topic="in", output="out", retry=retry)
    lab.send("in", "later", "never", "drop")
    assert sink.data(1) == [2]
    worker.until_idle()
    statuses = [task["status"] for task in sorted(worker.tasks(), key=lambda t: t["eventId"])]
    assert statuses == ["COMPLETED", "FAILED_WITH_TERMINAL_ERROR", "SKIPPED"]
    [letter] = worker.dead_letters()
    assert letter["reason"] == "NON_RETRYABLE"
    assert letter["error"]["message"] == "broken for good"
    lab.publish("in", [event("drop", id="last")])
    worker.until_idle()
    facts = lab.client.get(f"{worker.path}:explain")["facts"]
    assert facts["lastError"] == worker.status()["lastError"] == "NonRetryable: broken for good"


def test_invoke_tells_what_the_handler_raised(lab):
    worker = lab.worker("a", "def process(event):\n    return 1 / event.data\n")
    problem = worker.invoke(0, expect=422)
    assert problem["reason"] == "WORKER_ERROR"
    assert problem["metadata"]["errorType"] == "ZeroDivisionError"
    assert "return 1 / event.data" in problem["metadata"]["traceback"]
    assert "workmanager_executor" not in problem["metadata"]["traceback"]
    assert worker.dead_letters() == []


def test_handler_can_be_named(lab):
    code = "def process(event): return 1\ndef other(event): return 2\n"
    worker = lab.worker("a", code, handler="worker:other")
    assert worker.invoke()["outputs"][0]["data"] == 2


def test_too_many_outputs_end_the_task(lab):
    worker = lab.worker("a", GENERATOR, topic="in", outputs={"maxPerTask": 3})
    assert len(worker.invoke(3)["outputs"]) == 3
    assert "outputs" in worker.invoke(4, expect=422)["detail"]


def test_environment_of_a_worker_holds_nothing_of_the_service(lab):
    code = "import os\ndef process(event): return dict(os.environ)"
    worker = lab.worker("a", code, env={"MINE": "1"})
    seen = worker.invoke()["outputs"][0]["data"]
    assert seen["MINE"] == "1"
    assert set(seen) <= {"MINE", "PATH", "LANG", "HOME", "TMPDIR", "LC_CTYPE"}


REFUSED = {
    "syntax": ("x = 1\ndef process(event)\n    pass\n", "BUILD_FAILED", "worker.py:2"),
    "import": ("import json\nimport no_such_module\n", "BUILD_FAILED", "worker.py:2"),
    "raises": ("\n\nraise RuntimeError('at import')\n", "BUILD_FAILED", "worker.py:3"),
    "missing": ("def proces(event): pass\n", "HANDLER_NOT_FOUND", "worker.py:1"),
    "signature": ("\ndef process(): pass\n", "HANDLER_NOT_FOUND", "worker.py:2"),
    "class": ("class process:\n    pass\n", "HANDLER_NOT_FOUND", "worker.py:1"),
    "start": ("def process(e): pass\ndef start(c):\n    1 / 0\n", "BUILD_FAILED", "worker.py:3"),
    "exit": ("import sys\nsys.exit(3)\n", "BUILD_FAILED", "worker.py:2"),
    "nul": ("x = '\0'\n", "BUILD_FAILED", "worker.py:1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_code_is_refused_with_file_and_line(lab, kind):
    code, reason, where = REFUSED[kind]
    made = lab.manifest("bad", code, topic="in")
    problem = lab.client.post("/v1/workers", made, expect=422)
    assert problem["reason"] == reason
    assert problem["errors"][0]["pointer"] == where
    assert where in problem["detail"]
    lab.client.get(f"/v1/workers/{made['metadata']['name']}", expect=404)
    assert lab.publish("in", [event(id=1)])["deliveries"] == 0
    assert not [e for e in lab.client.all("/v1/executors") if e["worker"].startswith(lab.prefix)]


def test_code_that_dies_at_import_is_refused(lab):
    code = "import os\nprint('last words', flush=True)\nos._exit(9)\n"
    problem = lab.client.post("/v1/workers", lab.manifest("bad", code), expect=422)
    assert "exited with 9" in problem["detail"]
    assert "last words" in problem["detail"]


def test_code_that_never_gets_ready_is_refused(lab):
    code = "while True: pass\n"
    made = lab.manifest("bad", code, timeouts={"start": "300ms"})
    problem = lab.client.post("/v1/workers", made, expect=422)
    assert "not ready within 0.3 s" in problem["detail"]


def test_other_interpreter_runs_the_code(lab):
    code = "import sys\ndef process(event): return [sys.executable, sys.version.split()[0]]"
    python = sys._base_executable
    worker = lab.worker("a", code, python=python)
    executable, version = worker.invoke()["outputs"][0]["data"]
    assert executable.startswith(sys.base_prefix)
    assert version == sys.version.split()[0]
