"""One suite for every engine: Python, C#, assemblies, and an engine that is a plug-in."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "executors"))
sys.path.insert(0, str(Path(__file__).parents[1] / "executors" / "dotnet"))

from engine_codes import CSHARP, PYTHON, Language, install_plugin, rotated
from system_harness import Lab, Load, Worker, serving

import dotnet_fixture

pytestmark = pytest.mark.slow
ONCE = {"maximumAttempts": 1}
FAST = {"backoffInitial": "20ms", "backoffMax": "50ms", "startLimitBurst": 0}
NAMES = ("python", "csharp", "dll", "plugin")


@pytest.fixture(scope="module")
def environ(tmp_path_factory):
    """Variables of a service that knows every engine that is to be had."""
    folder = tmp_path_factory.mktemp("plugin")
    install_plugin(folder)
    found = {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    try:
        return found | dotnet_fixture.find().settings
    except dotnet_fixture.UnavailableError:
        return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory, environ):
    with serving(tmp_path_factory.mktemp("state"), environ=environ) as service:
        yield service


@pytest.fixture(scope="module")
def compiler():
    pytest.importorskip("clr_loader", reason="clr_loader is not installed")
    from dotnet_harness import Compiler, start_zygote

    with start_zygote() as zygote:
        running = Compiler.start(zygote, need_dotnet())
        with running.executor:
            yield running


@pytest.fixture(params=NAMES)
def language(request):
    return language_of(request.param, request)


def language_of(name, request):
    if name == "python":
        return Language("python", "text/x-python", PYTHON, str.encode)
    if name == "plugin":
        return Language("plugin", "text/x-rot13", PYTHON, rotated)
    need_dotnet()
    if name == "csharp":
        return Language("csharp", "text/x-csharp", CSHARP, str.encode)
    compiler = request.getfixturevalue("compiler")
    return Language("dll", "text/x-dll", CSHARP, compiler.compile, builds_source=False)


def need_dotnet():
    try:
        return dotnet_fixture.find()
    except dotnet_fixture.UnavailableError as error:
        pytest.skip(f"no .NET: {error}")


def statuses(worker):
    return {task["eventId"]: task["status"] for task in worker.tasks()}


def test_the_engine_is_listed_and_can_run(lab, language):
    engines = {one["mediaType"]: one for one in lab.client.get("/v1/engines")["items"]}
    assert engines[language.media_type]["available"], engines[language.media_type]


def test_invoke_and_topics(lab, language):
    sink = lab.sink("out")
    worker = start(lab, language, "add", topic="in", output="out")
    assert worker.invoke(41)["outputs"][0]["data"] == 42
    lab.send("in", *range(100))
    assert sorted(sink.data(101)) == sorted([42, *range(1, 101)])


def test_every_way_an_attempt_can_end(lab, language):
    retry = {"maximumAttempts": 2, "initialInterval": "10ms"}
    worker = start(lab, language, "fail", topic="in", retry=retry)
    lab.send("in", "fine", "error", "retry", "final", "drop")
    worker.until_idle()
    found = {task["eventId"]: (task["status"], task["attempt"]) for task in worker.tasks()}
    assert found == {
        "0": ("COMPLETED", 1),
        "1": ("FAILED", 2),
        "2": ("FAILED", 2),
        "3": ("FAILED_WITH_TERMINAL_ERROR", 1),
        "4": ("SKIPPED", 0),
    }
    letters = {letter["event"]["id"]: letter["error"] for letter in worker.dead_letters()}
    assert (letters["1"]["type"], letters["1"]["message"]) == ("Trouble", "no")
    assert (letters["3"]["type"], letters["3"]["message"]) == ("order.bad", "bad")


def test_lines_belong_to_their_task(lab, language):
    worker = start(lab, language, "log", topic="in")
    lab.send("in", 7, 8)
    worker.until_idle()
    ids = {task["eventId"]: task["id"] for task in worker.tasks()}
    found = defaultdict(list)
    for line in worker.lines():
        found[line["task"]].append((line["level"], line["text"]))
    for number, event_id in ((7, "0"), (8, "1")):
        assert found[ids[event_id]] == [
            ("INFO", f"out {number}"),
            ("ERROR", f"err {number}"),
            ("WARNING", f"warn {number}"),
        ]


def test_handler_that_heeds_the_cancel_keeps_its_executor(lab, language):
    spec = {"timeouts": {"startToClose": "300ms"}, "retry": ONCE}
    worker = start(lab, language, "polite", topic="in", **spec)
    [before] = worker.executors()
    lab.send("in", "slow", "quick")
    worker.until_idle()
    assert statuses(worker) == {"0": "TIMED_OUT", "1": "COMPLETED"}
    assert worker.executors()[0]["pid"] == before["pid"]


def test_handler_that_is_deaf_is_killed(lab, language):
    spec = {"timeouts": {"startToClose": "300ms"}, "retry": ONCE, "drain": {"killAfter": "200ms"}}
    worker = start(lab, language, "deaf", topic="in", **spec)
    lab.send("in", "a", "slow", "b")
    worker.until_idle(timeout_s=30)
    assert statuses(worker) == {"0": "COMPLETED", "1": "TIMED_OUT", "2": "COMPLETED"}
    worker.until_state("RUNNING")


def test_event_that_kills_its_executor_is_given_up_alone(lab, language):
    sink = lab.sink("out")
    worker = start(lab, language, "die", topic="in", output="out", restart=FAST)
    lab.send("in", "a", "bad", "b")
    worker.until_idle(timeout_s=40)
    assert sorted(sink.data(2)) == ["a", "b"]
    [letter] = worker.dead_letters()
    assert (letter["reason"], letter["event"]["data"]) == ("CRASHED", "bad")
    assert any("last words" in text for text in worker.texts())


def test_attempts_beside_each_other(lab, language):
    worker = start(lab, language, "meet", topic="in", concurrency={"perExecutor": 4})
    lab.send("in", *range(8))
    worker.until_idle()
    assert set(statuses(worker).values()) == {"COMPLETED"}


def test_swaps_under_load_lose_nothing(lab, language):
    sink = lab.sink("out", lean=True)
    worker = start(lab, language, "version", topic="in", output="out", values={"VERSION": 1})
    with Load(lab.service, lab.topic("in"), rate=500) as load:
        load.pass_by(100)
        for version in (2, 3):
            replace(lab, worker, language.code("version", VERSION=version), language)
            load.pass_by(100)
    records = sink.take(load.sent)
    assert sorted(record["n"] for record in records) == list(range(load.sent))
    assert {record["v"] for record in records} == {1, 2, 3}


@pytest.mark.parametrize(
    ("name", "reason"), [("broken", "BUILD_FAILED"), ("missing", "HANDLER_NOT_FOUND")]
)
def test_code_that_cannot_run_is_refused_and_the_old_goes_on(lab, language, name, reason):
    if name == "broken" and not language.builds_source:
        pytest.skip("an assembly was built elsewhere")
    worker = start(lab, language, "add")
    problem = replace(lab, worker, language.code(name), language, expect=422)
    assert problem["reason"] == reason
    assert problem["errors"][0]["pointer"]
    assert worker.invoke(1)["outputs"][0]["data"] == 2
    assert worker.status()["state"] == "RUNNING"


def test_workers_of_every_engine_are_back_after_a_restart(tmp_path, environ, request):
    """Nothing is compiled anew: the outcome of the first start is kept."""
    languages = [language_of(name, request) for name in NAMES]
    with serving(tmp_path, environ=environ) as service:
        lab = Lab(service)
        names = [start(lab, one, "add", worker=one.name).name for one in languages]
        lab.client.close()
    with serving(tmp_path, environ=environ) as service:
        again = Lab(service)
        for name in names:
            assert Worker(again, name).invoke(1)["outputs"][0]["data"] == 2
        assert not [line for line in service.lines if line.get("event") == "compiled"]
        again.client.close()


def start(lab, language, name, *, worker="a", **more):
    """Create the worker *name* of the suite in a language."""
    made = language.manifest(lab, name, worker=worker, **more)
    lab.client.post("/v1/workers", made)
    lab._workers.append(Worker(lab, made["metadata"]["name"]))
    return lab._workers[-1]


def replace(lab, worker, code, language, *, expect=201):
    headers = {"content-type": language.media_type}
    return lab.client.call("PUT", f"{worker.path}/code", code, headers=headers, expect=expect)
