"""The command line against the real service: real processes, real sockets, real code."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import yaml
from click.testing import CliRunner

from workmanager.cli.publishing import copies, publish_all
from workmanager.cli.root import root
from workmanager.client import new_event
from workmanager.client.light import LightClient

pytestmark = [pytest.mark.system, pytest.mark.slow]

LIMIT_S = 30
COMMAND = [sys.executable, "-m", "workmanager.cli"]
GREET = """
def process(event):
    print("hello", event.data["name"])
    return {"greeting": "Hello " + event.data["name"]}
"""


@dataclass
class Served:
    """A running service and the command line that is pointed at it."""

    process: subprocess.Popen
    state: str
    url: str

    @property
    def environ(self):
        return os.environ | {"WORKMANAGER_STATE": self.state, "TERM": "xterm", "COLUMNS": "120"}

    def wm(self, *words, code=0, stdin=None):
        """Run a command in this process and return what it wrote; it must end with *code*."""
        runner = CliRunner(env={"WORKMANAGER_STATE": self.state})
        result = runner.invoke(root, [str(word) for word in words], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    def data(self, *words, **options):
        """Run a command with `-o json` and return what it shows."""
        return json.loads(self.wm(*words, "-o", "json", **options).stdout)

    def create(self, name, folder, code=GREET, *options):
        path = folder / f"{name}.py"
        path.write_text(code)
        self.wm("worker", "create", name, "--code", path, *options)
        self.wm("worker", "wait", name, "--for", "running")


@contextmanager
def serving(state, *options):
    """Start the service; leave when it has ended."""
    words = [*COMMAND, "serve", "--set", "grpc_bind=none", "--state", str(state)]
    words += ["--log-format", "json", *options]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        ready = threading.Event()
        urls = []

        def read():
            for line in process.stderr:
                if '"event": "serving"' in line:
                    urls.extend(json.loads(line)["urls"])
                    ready.set()
            ready.set()  # it has ended: there is nothing to wait for

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert ready.wait(LIMIT_S), "the service did not start in time"
            assert urls, "the service ended at its start"
            yield Served(process, str(state), urls[0])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(LIMIT_S)
            finally:
                process.kill()
                reader.join(LIMIT_S)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("state"), "--bind", "127.0.0.1:0") as served:
        yield served


def test_worker_lives_from_create_to_delete(service, tmp_path):
    service.create("greet", tmp_path, GREET, "--topic", "greetings", "--output-topic", "out")
    publish = ["event", "publish", "greetings", "--data", '{"name": "Ada"}', "--id", "one"]
    assert service.data(*publish)["accepted"] == 1
    assert service.data(*publish)["duplicates"] == 1
    service.wm("worker", "wait", "greet", "--for", "idle")

    [task] = service.data("task", "list", "--worker", "greet", "--status", "COMPLETED")
    assert task["eventId"] == "one"
    assert service.data("task", "get", task["id"])["status"] == "COMPLETED"
    assert "hello Ada" in service.wm("worker", "logs", "greet").stdout
    assert "hello Ada" in service.wm("worker", "logs", "--task", task["id"]).stdout
    assert service.data("executor", "list", "--worker", "greet")[0]["tasksTotal"] >= 1
    assert "greet" in service.wm("worker", "list").stdout

    assert "1 completed" in service.wm("worker", "describe", "greet").stdout
    assert service.wm("worker", "explain", "greet").stdout.strip()

    service.wm("worker", "pause", "greet")
    service.wm("worker", "resume", "greet")
    service.wm("worker", "restart", "greet")
    service.wm("worker", "stop", "greet")
    service.wm("worker", "wait", "greet", "--for", "stopped")
    service.wm("worker", "start", "greet")
    service.wm("worker", "wait", "greet", "--for", "running")

    assert service.data("worker", "delete", "greet")["done"] is True
    service.wm("worker", "wait", "greet", "--for", "deleted")
    missing = service.wm("worker", "get", "greet", code=3)
    assert "WORKER_NOT_FOUND" in missing.stderr
    assert "try: workmanager worker list" in missing.stderr


def test_create_leaves_an_existing_worker_alone(service, tmp_path):
    service.create("twice", tmp_path)
    path = tmp_path / "twice.py"
    again = service.wm("worker", "create", "twice", "--code", path, code=4)
    assert "WORKER_EXISTS" in again.stderr
    unnamed = service.data("worker", "create", "--code", path, "--no-start")
    assert unnamed["name"]
    assert unnamed["desiredState"] == "STOPPED"


def test_apply_and_diff(service, tmp_path):
    (tmp_path / "code.py").write_text(GREET)
    manifest = tmp_path / "workers.yaml"
    text = "metadata: {name: %s}\nspec: {code: {file: code.py}, retry: {maximumAttempts: %d}}\n"
    manifest.write_text(text % ("first", 3) + "---\n" + text % ("second", 3))

    assert "would be created" in service.wm("worker", "diff", "-f", manifest, code=6).stdout
    service.wm("worker", "apply", "-f", manifest, "--dry-run")
    service.wm("worker", "get", "first", code=3)
    assert changes(service, manifest) == ["created", "created"]
    assert changes(service, tmp_path) == ["unchanged", "unchanged"]
    service.wm("worker", "diff", "-f", manifest)

    manifest.write_text(text % ("first", 3) + "---\n" + text % ("second", 4))
    assert "maximumAttempts" in service.wm("worker", "diff", "-f", manifest, code=6).stdout
    assert changes(service, manifest) == ["unchanged", "changed"]

    etag = service.data("worker", "get", "first")["etag"]
    manifest.write_text(text % ("first", 5))
    service.wm("worker", "apply", "-f", manifest, "--if-match", etag)
    manifest.write_text(text % ("first", 6))
    refused = service.wm("worker", "apply", "-f", manifest, "--if-match", etag, code=4)
    assert "ETAG_MISMATCH" in refused.stderr


def changes(service, source):
    return [each["change"] for each in service.data("worker", "apply", "-f", source)]


def test_every_fault_of_a_manifest_is_told(service, tmp_path):
    (tmp_path / "w.yaml").write_text(
        "metadata: {name: faulty}\n"
        "spec: {retry: {maximumAttempts: many}, triggers: [{topic: ''}], colour: red}\n"
    )
    refused = service.wm("worker", "apply", "-f", tmp_path / "w.yaml", code=4)
    for path in ("retry.maximumAttempts", "triggers", "colour"):
        assert path in refused.stderr


def test_hot_swap_rejection_and_rollback(service, tmp_path):
    service.create("swap", tmp_path)
    (tmp_path / "bye.py").write_text(GREET.replace("Hello", "Bye"))
    (tmp_path / "bad.py").write_text("def process(")
    made = service.data("version", "create", "swap", "--code", tmp_path / "bye.py")
    assert greeting(service) == "Bye Ada"

    refused = service.wm("version", "create", "swap", "--code", tmp_path / "bad.py", code=4)
    assert "BUILD_FAILED" in refused.stderr
    assert "SyntaxError" in refused.stderr
    assert greeting(service) == "Bye Ada"

    operation = service.data("worker", "rollback", "swap", "--message", "too short")
    assert operation["done"] is True
    assert operation["error"] is None
    assert greeting(service) == "Hello Ada"
    operation = service.data("operation", "get", operation["id"], "--wait")
    assert operation["kind"] == "rollback"

    versions = {each["id"]: each for each in service.data("version", "list", "swap")}
    assert versions[made["id"]]["state"] in ("DRAINING", "DRAINED")
    service.wm("version", "promote", "swap", made["id"])
    assert service.data("version", "get", "swap", made["id"])["state"] == "CURRENT"


def greeting(service):
    result = service.data("worker", "invoke", "swap", "--data", '{"name": "Ada"}')
    return result["outputs"][0]["data"]["greeting"]


def test_invoke_shows_outputs_and_failures(service, tmp_path):
    service.create("once", tmp_path)
    words = ["worker", "invoke", "once", "--data"]
    assert '"greeting": "Hello Ada"' in service.wm(*words, '{"name": "Ada"}').stdout
    dry = service.data(*words, '{"name": "Ada"}', "--mode", "dryRun")
    assert dry["outputs"][0]["data"] == {"greeting": "Hello Ada"}
    failed = service.wm(*words, "{}", code=1)
    assert "KeyError" in failed.stderr
    assert "Traceback" in failed.stderr
    assert "worker logs once" in failed.stderr


def test_dead_letters_go_back_or_are_forgotten(service, tmp_path):
    (tmp_path / "code.py").write_text(GREET)
    (tmp_path / "w.yaml").write_text(
        "metadata: {name: grave}\n"
        "spec: {code: {file: code.py}, triggers: [{topic: grave}], retry: {maximumAttempts: 1}}\n"
    )
    service.wm("worker", "apply", "-f", tmp_path / "w.yaml")
    service.wm("event", "publish", "grave", "--data", "{}", "--count", 3)
    service.wm("worker", "wait", "grave", "--for", "idle")

    listed = service.data("dead-letter", "list", "--worker", "grave", "--error-type", "KeyError")
    assert len(listed) == 3
    assert service.data("dead-letter", "get", listed[0]["id"])["event"]["data"] == {}
    cut = service.wm("dead-letter", "list", "--worker", "grave", "--limit", 2)
    assert "--limit 0" in cut.stderr

    (tmp_path / "mended.py").write_text("def process(event): return None")
    service.wm("version", "create", "grave", "--code", tmp_path / "mended.py")
    service.wm("dead-letter", "purge", listed[0]["id"], "--yes")
    service.wm("dead-letter", "redrive", "--worker", "grave")
    service.wm("worker", "wait", "grave", "--for", "idle")
    assert service.data("dead-letter", "list", "--worker", "grave") == []


def test_batches_of_events(service, tmp_path):
    service.create("batch", tmp_path, "def process(event): print(event.type)", "--topic", "batch")
    lines = '{"data": 1, "type": "own"}\n{"data": 2}\n'
    words = ["event", "publish", "batch", "--batch", "-", "--type", "given"]
    assert service.data(*words, stdin=lines)["accepted"] == 2
    many = ["event", "publish", "batch", "--count", 2500, "--data", "1"]
    assert service.data(*many)["accepted"] == 2500
    service.wm("worker", "wait", "batch", "--for", "idle")
    assert service.data("worker", "get", "batch")["status"]["tasksCompleted"] == 2502


def test_full_inbox_is_waited_for_then_told(service, tmp_path):
    (tmp_path / "code.py").write_text(GREET)
    (tmp_path / "w.yaml").write_text(
        "metadata: {name: full}\n"
        "spec: {code: {file: code.py}, triggers: [{topic: full}], inbox: {maxCount: 10},"
        " desiredState: PAUSED}\n"
    )
    service.wm("worker", "apply", "-f", tmp_path / "w.yaml")
    publish = ["event", "publish", "full", "--data", '{"name": "Ada"}', "--count"]
    service.wm(*publish, 10)
    refused = service.wm(*publish, 1, "--patience", "0s", code=4)
    assert "INBOX_FULL" in refused.stderr
    assert "again in" in refused.stderr

    told = []

    def resume(words):
        told.append(words)
        if len(told) == 1:
            client.resume_worker("full")

    with LightClient(f"{service.state}/workmanager.sock") as client:
        events = copies(new_event({"name": "Ada"}), 5, has_own_id=False)
        total = publish_all(client, "full", events, patience_s=LIMIT_S, on_progress=resume)
    assert told[0].startswith("waiting: ")
    assert total["accepted"] == 5


def test_groups(service, tmp_path):
    for name in ("left", "right"):
        service.create(name, tmp_path, GREET, "--group", "pair")
    group = service.data("group", "get", "pair")
    assert sorted(member["worker"] for member in group["members"]) == ["left", "right"]
    assert "left,right" in service.wm("group", "list").stdout
    refused = service.wm("group", "release", "pair", "--token", 999, code=4)
    assert "LEASE_LOST" in refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("worker", "list"),
        ("version", "list", "forms"),
        ("executor", "list"),
        ("task", "list"),
        ("dead-letter", "list"),
        ("group", "list"),
        ("engine", "list"),
        ("operation", "list"),
    ],
)
def test_lists_come_in_every_form(service, tmp_path, words):
    if "forms" in words:
        service.create("forms", tmp_path)
    listed = service.data(*words)
    assert isinstance(listed, list)
    loaded = yaml.safe_load(service.wm(*words, "-o", "yaml").stdout)
    assert len(loaded) == len(listed)
    lines = service.wm(*words, "-o", "jsonl").stdout.splitlines()
    assert len([json.loads(line) for line in lines]) == len(listed)
    for form in ("table", "wide"):
        rows = service.wm(*words, "-o", form).stdout.splitlines()[1:]
        assert len(rows) == len(listed)


def test_wait_gives_up_in_time(service, tmp_path):
    service.create("slow", tmp_path, GREET, "--topic", "slow")
    service.wm("worker", "pause", "slow")
    service.wm("event", "publish", "slow", "--data", '{"name": "Ada"}')
    late = service.wm("worker", "wait", "slow", "--for", "idle", "--timeout", "50ms", code=1)
    assert "1 waiting" in late.stderr
    assert "worker explain slow" in late.stderr


def test_health_and_the_ways_to_be_refused(service, tmp_path):
    assert service.wm("health").stdout.startswith("ok: workmanager")
    service.wm("health", "--target", tmp_path / "none.sock", code=5)
    service.wm("health", "--target", service.url)  # the token of the state folder
    (tmp_path / "token").write_text("not the token of this service")
    words = ["health", "--target", service.url, "--token-file", tmp_path / "token"]
    assert "UNAUTHENTICATED" in service.wm(*words, code=4).stderr


def test_logs_follow_several_workers_until_interrupted(service, tmp_path):
    for name in ("north", "south"):
        service.create(name, tmp_path, GREET, "--topic", "wind")
    words = [*COMMAND, "worker", "logs", "north", "south", "-f", "--tail", "0", "-o", "jsonl"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=service.environ
    ) as follower:
        alarm = threading.Timer(LIMIT_S, follower.kill)
        alarm.start()
        seen = set()
        service.wm("event", "publish", "wind", "--data", '{"name": "before"}')
        number = 0
        stop = threading.Event()

        def blow():  # until the follower has begun, nobody knows when that is
            nonlocal number
            while not stop.wait(0.05):
                number += 1
                service.wm("event", "publish", "wind", "--data", json.dumps({"name": f"n{number}"}))

        blower = threading.Thread(target=blow)
        blower.start()
        for line in follower.stdout:
            seen.add(json.loads(line)["worker"])
            if seen == {"north", "south"}:
                break
        stop.set()
        blower.join(LIMIT_S)
        follower.send_signal(signal.SIGINT)
        assert follower.wait(LIMIT_S) == 130
        alarm.cancel()
    assert seen == {"north", "south"}


def test_terminal_gets_color_and_pipes_do_not(service, tmp_path):
    service.create("bright", tmp_path)
    assert "\x1b[32mRUNNING" in on_terminal(service, "worker", "list")
    assert "\x1b" not in on_terminal(service, "worker", "list", "--no-color")
    assert "\x1b" not in service.wm("worker", "list").stdout


def on_terminal(service, *words):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*COMMAND, *words], service.environ)
    chunks = []
    try:
        while chunk := os.read(terminal, 65536):
            chunks.append(chunk)
    except OSError:  # Linux answers so when the other end is closed
        pass
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return b"".join(chunks).decode()


def test_live_names_complete(service, tmp_path):
    service.create("complete-me", tmp_path, GREET, "--topic", "completing")
    assert completed(service, "worker", "stop", "compl") == ["complete-me"]
    assert completed(service, "event", "publish", "compl") == ["completing"]
    assert completed(service, "executor", "list", "--worker", "compl") == ["complete-me"]


def completed(service, *words):
    environ = service.environ | {
        "_WORKMANAGER_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["workmanager", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(COMMAND, env=environ, capture_output=True, text=True, timeout=LIMIT_S)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_second_service_on_the_same_folder_is_refused(service):
    done = serve("--state", service.state, "--bind", "127.0.0.1:0")
    assert done.returncode == 4
    assert service.state in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["--config", "/none/such.toml"], ["--set", "colour=red"]])
def test_wrong_settings_are_usage(tmp_path, words):
    done = serve("--state", str(tmp_path), *words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def serve(*words):
    command = [*COMMAND, "serve", "--set", "grpc_bind=none", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_service_in_dev_mode_needs_no_token_and_ends_well(tmp_path, number):
    with serving(tmp_path, "--dev", "--bind", "127.0.0.1:0") as served:
        words = ["health", "--target", served.url]
        assert CliRunner(env={"WORKMANAGER_STATE": "/none"}).invoke(root, words).exit_code == 0
        served.process.send_signal(number)
        assert served.process.wait(LIMIT_S) == 0
