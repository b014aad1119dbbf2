"""Attempts that run into a limit: the failure says which, in every place where people look."""

from __future__ import annotations

import pytest

ONCE = {"retry": {"maximumAttempts": 1}}
CODE = """
import errno, os, tempfile, threading, time

def process(event):
    began = time.process_time()
    what = event.data
    if what == "heap":
        return len(bytearray(2**30))
    if what == "threads":
        for _ in range(1000):
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    if what in ("scratch", "file"):
        with tempfile.TemporaryFile() as file:
            for _ in range(64):
                file.write(bytes(2**20))
                file.flush()
    if what == "descriptors":
        return [os.dup(0) for _ in range(1000)]
    if what == "burn":
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    if what == "hold":
        held = bytearray(50 * 2**20)
        time.sleep(0.1)
    print(time.process_time() - began)
    return "fine"
"""
WHAT = {
    "heap": ("oom", "MemoryError", {"memoryMax": "64MiB"}, "memoryMax is 64 MiB"),
    "threads": ("pids", "RuntimeError", {"pidsMax": 20}, "pidsMax is 20"),
    "scratch": ("disk", "OSError", {"tmpSize": "2MiB"}, "tmpSize is 2 MiB"),
    "file": ("disk", "OSError", {"fileSizeMax": "1MiB"}, "fileSizeMax 1 MiB"),
    "descriptors": ("files", "OSError", {"filesMax": 64}, "filesMax is 64"),
}


@pytest.mark.parametrize("what", WHAT)
def test_hit_limit_is_named(lab, what):
    limit, error_type, resources, words = WHAT[what]
    worker = lab.worker("a", CODE, topic="in", resources=resources, **ONCE)
    lab.send("in", what, "other")
    worker.until_idle()
    [letter] = worker.dead_letters()
    assert letter["error"]["type"] == error_type
    assert letter["error"]["message"].startswith(f"limit {limit}: ")
    assert words in letter["error"]["message"]
    failed = next(task for task in worker.tasks() if task["status"] == "FAILED")
    assert failed["error"]["message"].startswith(f"limit {limit}: ")
    assert lab.client.get(f"{worker.path}:explain")["facts"]["limits"][limit] == 1
    metrics = lab.client.get("/metrics").decode()
    assert f'workmanager_limit_hits_total{{limit="{limit}",worker="{worker.name}"}} 1.0' in metrics


def test_bill_is_in_the_record_of_the_task(lab):
    worker = lab.worker("a", CODE, topic="in")
    lab.send("in", "burn")
    worker.until_idle()
    [burnt] = [task["usage"] for task in worker.tasks()]
    assert 0.19 < burnt["cpuS"] < 2
    assert burnt["memoryPeakBytes"] < 40 * 2**20
    assert burnt["writtenBytes"] < 10_000


def test_bill_tells_attempts_of_one_executor_apart(lab):
    worker = lab.worker("a", CODE, topic="in", dedupe={"window": 0})
    for what in ("hold", "burn"):
        lab.send("in", what)
        worker.until_idle()
    burnt, held = (task["usage"] for task in worker.tasks())
    assert held["memoryPeakBytes"] > 50 * 2**20 > burnt["memoryPeakBytes"]
    assert burnt["cpuS"] > 0.15
    for usage, told in zip((held, burnt), worker.texts(), strict=True):
        assert float(told) <= usage["cpuS"] <= float(told) * 1.5 + 0.1


def test_bill_counts_children_that_were_waited_for(lab):
    code = """
    import subprocess, sys
    BURN = "import time\\nwhile time.process_time() < 0.3: pass"
    def process(event):
        subprocess.run([sys.executable, "-S", "-c", BURN], check=True)
    """
    worker = lab.worker("a", code, topic="in", isolation={"subprocess": "allow"})
    lab.send("in", 1)
    worker.until_idle()
    [task] = worker.tasks()
    assert 0.28 < task["usage"]["cpuS"] < 3


def test_bill_of_attempts_side_by_side_is_unknown(lab):
    worker = lab.worker("a", CODE, topic="in", concurrency={"perExecutor": 2})
    lab.send("in", "fine")
    worker.until_idle()
    [task] = worker.tasks()
    assert set(task["usage"].values()) == {None}


def test_bill_of_a_crash_is_that_of_the_process(lab):
    code = """
    import os, time
    def process(event):
        hoard = bytearray(60 * 2**20)
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        os._exit(1)
    """
    worker = lab.worker("a", code, topic="in", deadLetter={"maxCrashes": 1})
    lab.send("in", 1)
    worker.until_idle()
    [task] = worker.tasks()
    assert task["status"] == "FAILED"
    assert 0.09 < task["usage"]["cpuS"] < 2
    assert task["usage"]["memoryPeakBytes"] > 60 * 2**20
