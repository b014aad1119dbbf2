"""One suite for every engine: Python, C#, assemblies, and an engine that is a plug-in."""

from __future__ import annotations

import base64
import http.server
import os
import subprocess
import sys
import threading
from collections import defaultdict

import pytest
from engine_codes import CSHARP, PYTHON, Language, rotated
from system_harness import Lab, Load, Worker, serving

from workmanager.client import WorkManagerClient

pytestmark = pytest.mark.slow
ONCE = {"maximumAttempts": 1}
FAST = {"backoffInitial": "20ms", "backoffMax": "50ms", "startLimitBurst": 0}
NAMES = ("python", "csharp", "dll", "plugin")


@pytest.fixture(scope="module")
def shared(engine_service):
    return engine_service


@pytest.fixture(params=NAMES)
def language(request):
    return language_of(request.param, request)


@pytest.fixture(params=NAMES[:3])
def own_language(request):
    """Without the plug-in's, which is Python again."""
    return language_of(request.param, request)


def language_of(name, request):
    if name == "python":
        return Language("python", "text/x-python", PYTHON, str.encode)
    if name == "plugin":
        return Language("plugin", "text/x-rot13", PYTHON, rotated)
    request.getfixturevalue("dotnet")
    if name == "csharp":
        return Language("csharp", "text/x-csharp", CSHARP, str.encode)
    compiler = request.getfixturevalue("compiler")
    return Language("dll", "text/x-dll", CSHARP, compiler.compile, builds_source=False)


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


def test_batches_and_those_of_a_batch_that_fail(lab, language):
    sink = lab.sink("out")
    batch = {"size": 10, "window": "2s"}
    worker = start(lab, language, "batch", topic="in", output="out", batch=batch, retry=ONCE)
    lab.send("in", *range(9), -1)
    worker.until_idle()
    assert sink.data(1) == [{"sum": 36, "of": 10}]
    [letter] = worker.dead_letters()
    assert (letter["event"]["data"], letter["error"]["type"]) == (-1, "low")


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


def test_workers_of_every_engine_are_back_after_a_restart(tmp_path, engine_environ, request):
    """Nothing is compiled anew: the outcome of the first start is kept."""
    languages = [language_of(name, request) for name in NAMES]
    with serving(tmp_path, environ=engine_environ) as service:
        lab = Lab(service)
        names = [start(lab, one, "add", worker=one.name).name for one in languages]
        lab.client.close()
    with serving(tmp_path, environ=engine_environ) as service:
        again = Lab(service)
        for name in names:
            assert Worker(again, name).invoke(1)["outputs"][0]["data"] == 2
        assert not [line for line in service.lines if line.get("event") == "compiled"]
        again.client.close()


def test_secrets_reach_the_code_and_nobody_else(lab, language):
    secrets = [{"name": "key"}, {"name": "key", "as": "env", "variable": "KEY"}]
    worker = start(lab, language, "secret", topic="in", secrets=secrets)
    lab.send("in", None)
    worker.until_idle()
    assert worker.invoke()["outputs"][0]["data"] == [9, 9]
    assert {line["text"] for line in worker.lines()} == {"the key is ***"}


def test_requests_go_through_the_service(lab, language, shelf):
    allow = [{"host": "127.0.0.1", "methods": ["POST"], "ports": [shelf.port]}]
    worker = start(lab, language, "fetch", egress={"allow": allow}, retry=ONCE)
    assert worker.invoke(f"{shelf.url}/echo")["outputs"][0]["data"] == {
        "status": 200,
        "text": 'k application/json {"n":1}',
    }
    assert worker.invoke(f"{shelf.url}/gone")["outputs"][0]["data"]["status"] == 404
    problem = worker.invoke("http://127.0.0.2/", expect=422)
    assert problem["metadata"]["errorType"] in ("HttpRefused", "HttpRefusedException")


def test_trace_context_is_handed_on(lab, language):
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    sink = lab.sink("out")
    start(lab, language, "trace", topic="in", output="out")
    lab.send("in", None, traceparent=trace)
    assert sink.data(1)[0].split("-")[1] == "a" * 32


@pytest.mark.parametrize("source", ["inline", "url"])
@pytest.mark.parametrize("way", ["rest", "grpc", "cli"])
def test_creation_by_every_way(lab, own_language, shelf, tmp_path, way, source):
    language = own_language
    code = language.code("add")
    made = lab.manifest("a", "", engine=language.media_type)
    if source == "url":
        made["spec"]["code"] = {"url": shelf.put(code, language.media_type)}
    else:
        made["spec"]["code"] = {"content": base64.b64encode(code).decode()}
    CREATE[way](lab, made, tmp_path)
    lab._workers.append(Worker(lab, made["metadata"]["name"]))
    worker = lab._workers[-1]
    assert worker.invoke(1)["outputs"][0]["data"] == 2
    assert worker.get()["spec"]["engine"] == language.media_type


def create_by_rest(lab, made, _folder):
    lab.client.post("/v1/workers", made)


def create_by_grpc(lab, made, _folder):
    line = lab.service.wait_line("serving")
    target = next(url for url in line["urls"] if url.startswith("grpc"))
    with WorkManagerClient(target) as client:
        client.create_worker(made)


def create_by_cli(lab, made, folder):
    """With the options that a person would use, not with the manifest."""
    spec, words = made["spec"], ["--engine", made["spec"]["engine"]]
    if "url" in spec["code"]:
        words += ["--url", spec["code"]["url"]]
    else:
        (folder / "code").write_bytes(base64.b64decode(spec["code"]["content"]))
        words += ["--code", str(folder / "code")]
    name = made["metadata"]["name"]
    done = subprocess.run(
        [sys.executable, "-m", "workmanager.cli", "worker", "create", name, *words],
        env={**os.environ, "WORKMANAGER_TARGET": lab.service.url},
        capture_output=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr.decode()


CREATE = {"rest": create_by_rest, "grpc": create_by_grpc, "cli": create_by_cli}


class Shelf:
    """A web server: hands out code that was put on it, and answers posts."""

    def __init__(self):
        self.codes = {}
        shelf = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                media_type, body = shelf.codes[self.path]
                self.answer(200, body, media_type)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                said = f"{self.headers['x-key']} {self.headers['content-type']} ".encode()
                self.answer(404 if self.path == "/gone" else 200, said + body, "text/plain")

            def answer(self, status, body, media_type):
                self.send_response(status)
                self.send_header("content-type", media_type)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def put(self, code, media_type):
        path = f"/{len(self.codes)}"
        self.codes[path] = (media_type, code)
        return self.url + path


@pytest.fixture(scope="module")
def shelf():
    made = Shelf()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def start(lab, language, name, *, worker="a", **more):
    """Create the worker *name* of the suite in a language."""
    made = language.manifest(lab, name, worker=worker, **more)
    lab.client.post("/v1/workers", made)
    lab._workers.append(Worker(lab, made["metadata"]["name"]))
    return lab._workers[-1]


def replace(lab, worker, code, language, *, expect=201):
    headers = {"content-type": language.media_type}
    return lab.client.call("PUT", f"{worker.path}/code", code, headers=headers, expect=expect)
