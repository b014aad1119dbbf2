"""What operators run against the real service: health for scripts, top, the support bundle."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from click.testing import CliRunner
from system_harness import until

from workmanager.cli.root import root

pytestmark = pytest.mark.slow

ECHO = "def process(event):\n    print('seen', event.id)\n    return event.data\n"
SLOW = "import time\ndef process(event):\n    time.sleep(60)\n"
BROKEN = "raise RuntimeError('no such module')\n"


def wm(url, *words, code=0):
    """Run a command against the service at *url*; it must end with *code*."""
    ended = CliRunner().invoke(root, [*words, "--target", url])
    assert ended.exit_code == code, (ended.output, ended.exception)
    return ended.stdout


def checks_of(document):
    return {check["name"]: check for check in document["checks"]}


def test_health_of_a_worker_and_of_its_executors(lab):
    worker = lab.worker("ok", ECHO, topic="t")
    url = lab.service.url
    line = wm(url, "health", "--worker", worker.name)
    assert line.startswith(f"ok: worker {worker.name}, RUNNING, 1 of 1 ready, 0 wait, for ")
    found = json.loads(wm(url, "health", "--worker", worker.name, "-o", "json"))
    assert checks_of(found)["executors"] == {
        "name": "executors", "status": "ok", "detail": "1 of 1 ready", "value": 1, "limit": 1
    }  # fmt: skip
    executor = worker.executors()[0]["id"]
    assert wm(url, "health", "--executor", executor).startswith(f"ok: executor {executor}, READY")
    memory = checks_of(lab.client.get(f"/v1/health?executor={executor}"))["memory"]
    assert 0 < memory["value"] < memory["limit"] == 256 * 2**20
    worker.verb("stop")
    stopped = wm(url, "health", "--worker", worker.name)
    assert stopped.startswith(f"ok: worker {worker.name}, STOPPED, 0 of 0 ready")
    wm(url, "health", "--executor", executor, code=3)
    wm(url, "health", "--worker", "nobody", code=3)


def test_health_of_a_worker_that_does_not_keep_up(lab):
    worker = lab.worker("slow", SLOW, topic="t", inbox={"maxCount": 10})
    lab.send("t", *range(10))
    line = wm(lab.service.url, "health", "--worker", worker.name, code=1)
    assert "degraded: worker" in line
    assert "  inbox: degraded full: 10 wait" in line


def test_health_as_a_plug_in(lab):
    """The guidelines' four exit codes, and data that can be drawn."""
    url = lab.service.url
    assert wm(url, "health", "--nagios").startswith("WORKMANAGER OK - service: ")
    worker = lab.worker("good", ECHO, topic="t")
    line = wm(url, "health", "--worker", worker.name, "--nagios")
    assert re.fullmatch(
        rf"WORKMANAGER OK - worker {worker.name}: RUNNING, 1 of 1 ready, 0 wait"
        r" \| executors=1;;;0;1 inbox=0;;;0;10000\n",
        line,
    )
    lab.worker("late", SLOW, topic="u", inbox={"maxCount": 10})
    lab.send("u", *range(10))
    warning = wm(url, "health", "--worker", lab.name("late"), "--nagios", code=1)
    assert warning.startswith("WORKMANAGER WARNING - ")
    unknown = wm(url, "health", "--worker", "nobody", "--nagios", code=3)
    assert unknown.startswith("WORKMANAGER UNKNOWN - worker nobody: ")
    assert unknown.count("\n") == 1
    silent = wm("http://127.0.0.1:1", "health", "--nagios", code=2)
    assert silent.startswith("WORKMANAGER CRITICAL - service: ")


def test_a_worker_that_was_given_up_is_critical(lab):
    worker = lab.worker("given-up", ECHO, topic="t", restart={"startLimitBurst": 1})
    os.kill(worker.executors()[0]["pid"], signal.SIGKILL)
    until(lambda: lab.client.get(f"/v1/health?worker={worker.name}")["status"] != "ok")
    worker.until_state("FAILED", "BACKOFF", "RUNNING")
    if worker.status()["state"] != "FAILED":
        os.kill(worker.executors()[0]["pid"], signal.SIGKILL)
        worker.until_state("FAILED")
    line = wm(lab.service.url, "health", "--worker", worker.name, "--nagios", code=2)
    assert line.startswith("WORKMANAGER CRITICAL - ")
    assert "state: FAILED" in line


def test_top_once_shows_rates_and_memory(lab):
    worker = lab.worker("busy", ECHO, topic="t")
    lab.send("t", *range(20))
    worker.until_idle()
    shown = wm(lab.service.url, "top", "--once", "--every", "500ms", "--sort", "memory")
    summary, headings, *rows = shown.splitlines()
    assert summary.startswith("ok, up ")
    assert headings.split()[:4] == ["WORKER", "STATE", "READY", "EVENTS/S"]
    row = next(row.split() for row in rows if row.startswith(worker.name))
    assert row[1:3] == ["RUNNING", "1/1"]
    assert row[-2].endswith("i")
    picture = json.loads(wm(lab.service.url, "top", "-o", "json", "--every", "500ms"))
    mine = next(row for row in picture["workers"] if row["name"] == worker.name)
    assert mine["memoryPssBytes"] > 0
    assert mine["executorsReady"] == mine["executors"] == 1


def test_top_is_a_live_screen_on_a_terminal(lab):
    worker = lab.worker("seen", ECHO, topic="t")
    with on_terminal(lab.service.url, "top", "--every", "500ms") as (process, master):
        shown = read_until(master, [worker.name, "EVENTS/S"])
        lab.worker("later", ECHO)
        shown = read_until(master, [lab.name("later")])  # it looks again by itself
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert "Traceback" not in shown


def test_the_support_bundle_holds_facts_and_no_secrets(lab, tmp_path):
    secret = "hunter2-of-the-bundle"
    worker = lab.worker("bundled", ECHO, topic="t", env={"API_KEY": secret})
    lab.send("t", {"card": "4711-of-the-bundle"})
    worker.until_idle()
    until(worker.lines)
    path = tmp_path / "report.tar.gz"
    ended = CliRunner().invoke(
        root, ["support-bundle", "-o", str(path), "--target", lab.service.url]
    )
    assert ended.exit_code == 0, ended.output
    assert ended.stdout == f"{path}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    files = read_bundle(path)
    expected = {
        "dead-letters.json", "engines.json", "errors.json", "executors.json", "explanations.json",
        "groups.json", "health.json", "logs.jsonl", "machine.json", "metrics.txt",
        "operations.json", "settings.json", "tasks.json", "version.json", "workers.json",
    }  # fmt: skip
    assert expected <= set(files)
    workers = {each["name"]: each for each in json.loads(files["workers.json"])}
    assert workers[worker.name]["spec"]["env"] == {"API_KEY": "(hidden)"}
    assert "seen" in files["logs.jsonl"]
    assert "workmanager_info" in files["metrics.txt"]
    assert json.loads(files["machine.json"])["packages"]["trio"]
    for name, text in files.items():
        assert secret not in text, name
        assert "4711-of-the-bundle" not in text, name


def test_a_bundle_without_a_service_tells_of_the_machine(tmp_path):
    path = tmp_path / "report.tar.gz"
    words = ["support-bundle", "-o", str(path), "--target", "http://127.0.0.1:1"]
    ended = CliRunner().invoke(root, words)
    assert ended.exit_code == 0
    files = read_bundle(path)
    assert "machine.json" in files
    assert "service" in json.loads(files["errors.json"])


def test_metrics_tell_what_executors_use(lab):
    worker = lab.worker("metered", ECHO, topic="t")
    executor = worker.executors()[0]["id"]
    text = lab.client.get("/metrics").decode()
    label = f'{{executor="{executor}",worker="{worker.name}"}}'
    found = {
        line.split("{")[0]: float(line.split()[-1]) for line in text.splitlines() if label in line
    }
    assert found["process_memory_pss_bytes"] > 0
    assert found["process_memory_usage_bytes"] >= found["process_memory_pss_bytes"]
    assert found["process_thread_count"] >= 2
    assert found["process_unix_file_descriptor_count"] >= 5
    assert found["process_cpu_time_seconds_total"] >= 0


def read_bundle(path):
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()
            for member in archive
        }


@contextlib.contextmanager
def on_terminal(url, *words):
    """Run a command on a terminal of its own."""
    master, slave = pty.openpty()
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "160", "LINES": "50"}
    command = [sys.executable, "-m", "workmanager.cli", *words, "--target", url]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True
    )
    os.close(slave)
    try:
        yield process, master
    finally:
        process.kill()
        process.wait()
        os.close(master)


def read_until(master, words, timeout_s=20):
    """Read what is shown until all of *words* have been."""
    shown = b""
    os.set_blocking(master, False)
    deadline = time.monotonic() + timeout_s

    def seen():
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(master, 65536)
        return all(word.encode() in shown for word in words)

    until(seen, timeout_s=deadline - time.monotonic(), what=words)
    return shown.decode("utf-8", "replace")
