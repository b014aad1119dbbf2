"""Executors that die in every way: the task is settled as designed, the worker comes back."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil
import pytest
from system_harness import event, until

FAST = {"backoffInitial": "20ms", "backoffMax": "50ms", "startLimitBurst": 0}
ENDS = {
    "os._exit": "import os; os._exit(7)",
    "SIGBUS": "import mmap, tempfile as t; f = t.TemporaryFile(); f.truncate(9);"
    " m = mmap.mmap(f.fileno(), 9); f.truncate(0); m[0]",
    "SIGSEGV": "import ctypes; ctypes.string_at(0)",
    "abort": "import os; os.abort()",
}
CODE = """
def process(event):
    if event.data == "bad":
        {end}
    return event.data
"""


@pytest.mark.parametrize("end", ENDS)
def test_death_by(lab, end):
    sink = lab.sink("out")
    code = CODE.format(end=ENDS[end])
    worker = lab.worker("a", code, topic="in", output="out", restart=FAST)
    [before] = worker.executors()
    lab.send("in", "a", "bad", "b")
    worker.until_idle()
    assert sorted(sink.data(2)) == ["a", "b"]
    [letter] = worker.dead_letters()
    assert (letter["reason"], letter["crashes"], letter["attempts"]) == ("CRASHED", 3, 0)
    # Endless recursion takes memory first: 3.11 and later keep Python's frames on the heap.
    is_memory = end == "stack overflow" and "limit oom" in letter["error"]["message"]
    assert letter["error"]["type"] == ("OutOfMemory" if is_memory else "ExecutorCrashed")
    worker.until_state("RUNNING")
    assert worker.status()["restarts"] in (3, 4)  # the first may have had others in hand
    assert worker.executors()[0]["pid"] != before["pid"]
    assert not psutil.pid_exists(before["pid"])


def test_poison_among_good_events_is_the_only_one_given_up(lab):
    sink = lab.sink("out")
    code = CODE.format(end="import os; os._exit(1)")
    worker = lab.worker("a", code, topic="in", output="out", restart=FAST)
    lab.send("in", *range(25), "bad", *range(25, 50))
    worker.until_idle()
    assert sorted(sink.data(50)) == list(range(50))
    [letter] = worker.dead_letters()
    assert (letter["event"]["data"], letter["reason"]) == ("bad", "CRASHED")
    others = [task for task in worker.tasks() if task["status"] == "COMPLETED"]
    assert len(others) == 50
    assert {task["attempt"] for task in others} == {1}
    assert {task["crashes"] for task in others} == {0}


def test_killed_from_outside_is_a_crash_and_the_task_runs_again(lab):
    code = """
    import os, time
    def process(event):
        print("pid", os.getpid(), flush=True)
        time.sleep(0.3)
        return "done"
    """
    sink = lab.sink("out")
    worker = lab.worker("a", code, topic="in", output="out", restart=FAST)
    lab.send("in", 1)
    worker.until(lambda status: status["inFlight"] == 1)
    os.kill(worker.executors()[0]["pid"], signal.SIGKILL)
    assert sink.data(1) == ["done"]
    worker.until_idle()
    [task] = worker.tasks()
    assert (task["status"], task["attempt"], task["crashes"]) == ("COMPLETED", 1, 1)


def test_executor_killed_while_idle_comes_back(lab):
    worker = lab.worker("a", "def process(event): return event.data", restart=FAST)
    [executor] = worker.executors()
    os.kill(executor["pid"], signal.SIGKILL)
    until(lambda: worker.status()["restarts"] == 1, what="it was missed")
    worker.until_state("RUNNING")
    assert worker.invoke("back")["outputs"][0]["data"] == "back"
    assert any("killed by SIGKILL" in text for text in worker.texts())


def test_memory_hog_is_killed_and_charged(lab):
    code = """
    import mmap, time
    def process(event):
        if event.data == "bad":
            hoard = mmap.mmap(-1, 400 * 2**20)  # shared memory: RLIMIT_DATA does not count it
            for place in range(0, len(hoard), 4096):
                hoard[place] = 1
            time.sleep(30)
        return event.data
    """
    resources = {"memoryMax": "64MiB"}
    spec = {"restart": FAST, "resources": resources, "deadLetter": {"maxCrashes": 1}}
    worker = lab.worker("a", code, topic="in", **spec)
    lab.send("in", "bad", "good")
    worker.until_idle()
    [letter] = worker.dead_letters()
    assert letter["event"]["data"] == "bad"
    assert (letter["reason"], letter["error"]["type"]) == ("CRASHED", "OutOfMemory")
    assert "limit oom: resources.memoryMax is 64 MiB" in letter["error"]["message"]
    worker.until_state("RUNNING")


def test_ignored_sigterm_is_answered_by_sigkill(lab):
    code = """
    import signal, time
    def start(context):
        try:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        except ValueError:
            pass
    def process(event):
        while True:
            time.sleep(0.01)
    """
    drain = {"gracePeriod": "100ms", "killAfter": "100ms"}
    worker = lab.worker("a", code, topic="in", drain=drain)
    [executor] = worker.executors()
    lab.send("in", 1)
    worker.until(lambda status: status["inFlight"] == 1)
    worker.verb("stop")
    worker.until_state("STOPPED")
    assert not psutil.pid_exists(executor["pid"])
    [task] = worker.tasks()
    assert (task["status"], task["attempt"], task["crashes"]) == ("SCHEDULED", 0, 0)


def test_whole_process_tree_goes_with_its_executor(lab):
    code = """
    import os, time
    def process(event):
        child = os.fork()
        if child == 0:
            while True:
                time.sleep(1)
        print("child", child, flush=True)
        if event.data == "die":
            os._exit(1)
        return child
    """
    spec = {"restart": FAST, "deadLetter": {"maxCrashes": 1}}
    spec["isolation"] = {"level": "none", "subprocess": "allow"}
    worker = lab.worker("a", code, topic="in", **spec)
    lab.send("in", "live", "die")
    worker.until_idle()
    pids = [int(text.split()[1]) for text in worker.texts() if text.startswith("child")]
    assert len(pids) >= 2
    until(lambda: not [p for p in pids if alive(p)], timeout_s=5, what=pids)


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_worker_that_keeps_dying_is_given_up_and_started_again_on_demand(lab):
    code = """
    import os, threading
    def start(context):
        threading.Timer(0.05, os._exit, (3,)).start()
    def process(event):
        return event.data
    """
    restart = {"backoffInitial": "10ms", "backoffMax": "20ms", "startLimitBurst": 4}
    worker = lab.worker("a", code, topic="in", restart=restart)
    worker.until_state("FAILED")
    status = worker.status()
    healthy = next(c for c in status["conditions"] if c["type"] == "Healthy")
    assert not healthy["status"]
    assert "startLimitBurst" in healthy["message"]
    assert "exited with 3" in healthy["message"]
    explained = lab.client.get(f"{worker.path}:explain")
    assert not explained["processing"]
    assert "given up" in explained["summary"]
    assert lab.send("in", 1)["deliveries"] == 1
    worker.verb("start")
    worker.until_state("FAILED")
    worker.put_code("def process(event): return event.data")
    worker.until_state("RUNNING")
    worker.until_idle()
    assert worker.tasks()[0]["status"] == "COMPLETED"


def test_worker_waits_in_backoff_before_it_starts_again(lab):
    restart = {"backoffInitial": "30s", "backoffMax": "30s"}
    worker = lab.worker("a", "def process(event): return 1", topic="in", restart=restart)
    os.kill(worker.executors()[0]["pid"], signal.SIGKILL)
    worker.until_state("BACKOFF")
    assert "before its next start" in lab.client.get(f"{worker.path}:explain")["summary"]
    lab.send("in", 1)
    assert worker.status()["backlog"] == 1
    worker.verb("start")
    worker.until_idle()
    assert worker.status()["state"] == "RUNNING"


def test_worker_in_backoff_can_be_stopped(lab):
    restart = {"backoffInitial": "30s", "backoffMax": "30s"}
    worker = lab.worker("a", "def process(event): return 1", restart=restart)
    os.kill(worker.executors()[0]["pid"], signal.SIGKILL)
    worker.until_state("BACKOFF")
    assert worker.verb("stop")["status"]["state"] == "STOPPED"


def test_one_of_two_executors_dies_and_the_other_goes_on(lab):
    sink = lab.sink("out")
    restart = {"backoffInitial": "30s", "backoffMax": "30s"}
    spec = {"concurrency": {"executors": 2}, "restart": restart}
    code = "import uuid\nme = str(uuid.uuid4())\ndef process(event): return me"
    worker = lab.worker("a", code, topic="in", output="out", **spec)
    first, second = worker.executors()
    os.kill(first["pid"], signal.SIGKILL)
    worker.until(lambda status: status["executorsReady"] == 1)
    assert worker.status()["state"] == "RUNNING"
    lab.send("in", *range(5))
    assert set(sink.data(5)) == {sink.data(5)[0]}
    assert worker.executors()[0]["pid"] == second["pid"]


def test_neighbours_do_not_notice(lab):
    """Figures only: how long a neighbour's invoke takes, alone and beside a crash loop."""
    neighbour = lab.worker("neighbour", "def process(event): return event.data")
    bad = lab.worker("bad", CODE.format(end="import os; os._exit(1)"), topic="in", restart=FAST)

    def measure(count):
        times = []
        for _ in range(count):
            began = time.perf_counter()
            neighbour.invoke(1)
            times.append(time.perf_counter() - began)
        times.sort()
        return times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3

    before = measure(300)
    stop = threading.Event()

    def crash():
        client = lab.service.client()
        n = 0
        while not stop.is_set():
            n += 1
            client.publish(lab.topic("in"), [event("bad", id=f"bad{n}"), event("ok", id=n)])
            stop.wait(0.05)
        client.close()

    thread = threading.Thread(target=crash)
    thread.start()
    try:
        beside = measure(300)
    finally:
        stop.set()
        thread.join()
    print(f"\ninvoke p50/p99: alone {before[0]:.1f}/{before[1]:.1f} ms,", end=" ")
    print(f"beside a crash loop {beside[0]:.1f}/{beside[1]:.1f} ms")
    assert bad.status()["restarts"] > 3
    assert neighbour.status()["restarts"] == 0


def test_zygote_that_dies_is_started_again(lab):
    worker = lab.worker("a", "def process(event): return event.data")
    [executor] = worker.executors()
    family = lab.service.family()
    zygote = next(p for p in family if "zygote" in p.cmdline())
    zygote.kill()
    lab.service.wait_line("zygote_exited")
    assert worker.executors()[0]["pid"] == executor["pid"]
    assert worker.invoke("still here")["outputs"][0]["data"] == "still here"
    fresh = lab.worker("b", "def process(event): return event.data")
    assert fresh.invoke("new")["outputs"][0]["data"] == "new"
