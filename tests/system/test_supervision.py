"""What an operator trusts: stops end, loops are bounded, a killed service leaves nothing."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import psutil
import pytest
from system_harness import Lab, Service, check_gone, until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="level uid needs root")
LEVELS = ("none", "basic", "full", pytest.param("uid", marks=needs_root))
LOOP = """
import os, threading
def start(context):
    if os.path.exists("{flag}"):
        threading.Timer(0.05, os._exit, (3,)).start()
def process(event):
    return "fine"
"""
QUICK = {"backoffInitial": "10ms", "backoffMax": "20ms", "startLimitBurst": 3}


@contextmanager
def own_service(folder, *options):
    """Run a service of one's own; `kill` at the end looks whether it leaves a process."""
    folder.chmod(0o755)  # pytest's are closed to the uid of a worker
    service = Service.start(folder / "state", *options)
    try:
        service.wait_ready()
        lab = Lab(service)
        yield lab
        lab.client.close()
    finally:
        service.kill()


@pytest.mark.parametrize("level", LEVELS)
def test_kill_nine_of_the_service_leaves_no_process(tmp_path, level):
    """`Service.kill` looks after a second: executors, busy, idle and deaf to SIGTERM, are gone."""
    with own_service(tmp_path, "--set", f"sandbox_level={level}") as lab:
        code = """
        import signal, threading, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        def process(event):
            while event.data == "busy":
                time.sleep(1)
        """
        busy = lab.worker("busy", code, topic="in", concurrency={"executors": 2})
        lab.worker("idle", code)
        lab.send("in", "busy", "busy")
        busy.until(lambda status: status["inFlight"] == 2)
        assert len(lab.service.family()) in (4, 5)  # executors, zygote; an intermediate may wait
        for executor in lab.client.get("/v1/executors")["items"]:
            assert executor["isolationLevel"] == level


def test_kill_nine_of_the_zygote_first_changes_nothing(tmp_path):
    with own_service(tmp_path) as lab:
        worker = lab.worker("a", "def process(event): return 1")
        zygote = next(p for p in lab.service.family() if "zygote" in p.cmdline())
        zygote.kill()
        assert worker.invoke()["status"] == "COMPLETED"


def test_daemon_that_left_its_group_is_killed_with_its_executor(lab):
    """At level none nothing holds it: it becomes the service's child, and a stray."""
    code = """
    import os, time
    def process(event):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    time.sleep(1)
            os._exit(0)
        time.sleep(0.2)
        os._exit(1)
    """
    isolation = {"level": "none", "subprocess": "allow"}
    worker = lab.worker("a", code, topic="in", isolation=isolation, deadLetter={"maxCrashes": 1})
    before = {p.pid for p in lab.service.family()}
    lab.send("in", 1)
    worker.until_idle()
    executors = {executor["pid"] for executor in worker.executors()}
    until(lambda: {p.pid for p in lab.service.family()} <= before | executors)


@pytest.mark.parametrize("level", LEVELS[1:])
def test_tree_of_an_executor_dies_with_it(lab, level):
    code = """
    import os, time
    def process(event):
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                while True:
                    time.sleep(1)
        while True:
            time.sleep(1)
    """
    isolation = {"level": level, "subprocess": "allow"}
    drain = {"gracePeriod": "50ms", "killAfter": "50ms"}
    worker = lab.worker("a", code, topic="in", isolation=isolation, drain=drain)
    [executor] = worker.executors()
    lab.send("in", 1)
    until(lambda: len(psutil.Process(executor["pid"]).children(recursive=True)) == 3)
    family = psutil.Process(executor["pid"]).children(recursive=True)
    worker.verb("stop")
    worker.until_state("STOPPED")
    check_gone(family)


def test_stopped_process_is_woken_to_be_ended(lab):
    worker = lab.worker("a", "def process(event): return 1", drain={"gracePeriod": "50ms"})
    [executor] = worker.executors()
    os.kill(executor["pid"], signal.SIGSTOP)
    worker.verb("stop")
    worker.until_state("STOPPED")
    assert not psutil.pid_exists(executor["pid"])


def test_crash_loop_is_tried_again_with_one_executor(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flag")
    folder.chmod(0o755)
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    flag = folder / "broken"
    restart = {**QUICK, "halfOpenAfter": "300ms", "startLimitInterval": "500ms"}
    spec = {"restart": restart, "concurrency": {"executors": 2}}
    spec["isolation"] = {"readPaths": [str(folder)]}
    worker = lab.worker("a", LOOP.format(flag=flag), **spec)
    flag.touch()
    for executor in worker.executors():
        os.kill(executor["pid"], signal.SIGKILL)
    worker.until(lambda status: status["state"] == "FAILED")
    healthy = next(c for c in worker.status()["conditions"] if c["type"] == "Healthy")
    assert "startLimitBurst" in healthy["message"]
    assert "one executor is tried in" in lab.client.get(f"{worker.path}:explain")["summary"]
    again = "when it was tried again after a crash loop"
    until(lambda: again in lab.client.get(f"{worker.path}:explain")["summary"])
    flag.unlink()
    worker.until(lambda status: status["state"] == "RUNNING" and status["executorsReady"] == 1)
    worker.until(lambda status: status["executorsReady"] == 2)
    assert worker.invoke()["outputs"][0]["data"] == "fine"


def test_host_has_one_budget_of_restarts(tmp_path):
    with own_service(tmp_path, "--set", "restarts_per_minute=2") as lab:
        code = "import os\ndef process(event): os._exit(1)"
        spec = {"restart": {**QUICK, "startLimitBurst": 0}, "deadLetter": {"maxCrashes": 1}}
        worker = lab.worker("a", code, topic="in", **spec)
        other = lab.worker("b", "def process(event): return 1", restart=QUICK)
        lab.send("in", *range(10))
        worker.until_state("BACKOFF")
        until(lambda: "restart budget" in lab.client.get(f"{worker.path}:explain")["summary"])
        os.kill(other.executors()[0]["pid"], signal.SIGKILL)
        until(lambda: other.status()["restarts"] == 1)
        other.until_state("RUNNING")
        assert worker.status()["state"] == "BACKOFF"


def test_missing_layer_is_refused_at_create_and_named(tmp_path):
    with own_service(tmp_path, "--set", "sandbox_require=basic") as lab:
        manifest = lab.manifest("a", "def process(event): return 1", isolation={"level": "none"})
        problem = lab.client.post("/v1/workers", manifest, expect=422)
        assert problem["reason"] == "ENGINE_UNAVAILABLE"
        assert problem["metadata"]["layer"] == "level"
        assert problem["errors"][0]["pointer"] == "spec.isolation.level"
        assert lab.client.get("/v1/workers")["items"] == []


def test_required_layer_that_is_missing_ends_the_start_with_78(tmp_path):
    service = Service.start(tmp_path / "state", "--set", "sandbox_require=full,memory")
    service._collect()
    texts = " ".join(str(line.get("text", "")) for line in service.lines)
    if service.process.returncode == 0:
        pytest.skip("memory is bounded by a cgroup here")
    assert service.process.returncode == 78
    assert "sandbox_require asks for layer memory" in texts
    assert "to get it: " in texts


def test_health_has_a_record_for_each_layer(lab):
    checks = lab.client.get("/v1/health?verbose=true")["checks"]
    layers = [check for check in checks if check["name"].startswith("sandbox/")]
    assert {check["layer"] for check in layers} >= {"landlock", "seccomp", "memory", "cgroups"}
    for check in layers:
        assert {"name", "status", "layer", "state", "detail", "required"} <= check.keys()
    whole = next(check for check in checks if check["name"] == "sandbox")
    worker = lab.worker("a", "def process(event): return 1")
    isolated = next(c for c in worker.status()["conditions"] if c["type"] == "Isolated")
    assert isolated["status"]
    [executor] = worker.executors()
    assert isolated["reason"] == executor["isolationLevel"].upper()
    assert whole["detail"].startswith(f"level {executor['isolationLevel']}")
    assert {r["layer"] for r in executor["isolation"]} == {check["layer"] for check in layers}
