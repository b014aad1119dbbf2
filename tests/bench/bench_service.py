"""What the running service costs: throughput, latency, starts, swaps, memory, recovery.

    python tests/bench/bench_service.py [--events 50000] [--json FILE]

Everything is measured in one run, next to what the machine itself can do (socketpair frames, SQLite
group commits), because these machines are shared: quote ratios, not times. Load goes over loopback
to a service of its own in a temporary folder; the whole run is bounded to three minutes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from system_harness import Client, Service, event, manifest, until

FRAME = b"x" * 300
BATCH = 500
PAD = "x" * 150
NO_OP = "def process(event):\n    return None\n"
ECHO = "def process(event):\n    return event.data\n"
STAMP = """
import time
def process(event):
    now = time.monotonic_ns()
    print((now - event.data["sent"]) // 1000, event.data["n"])
"""
GAP = """
import time
VERSION = {version}
def process(event):
    print(VERSION, time.monotonic_ns() // 1000)
"""
BIG = {"maxCount": 2_000_000, "maxBytes": "2Gi"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wm-bench-") as folder:
        figures = measure(Path(folder), options.events)
    figures["seconds"] = round(time.monotonic() - began, 1)
    show(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder, events):
    figures = {"machine": machine(), "roofline": roofline(folder)}
    service = Service.start(folder / "state").wait_ready()
    try:
        client = service.client()
        figures["throughput"] = [
            throughput(service, client, events, executors=1),
            throughput(service, client, events, executors=2),
            chain(service, client, events),
        ]
        figures["latency"] = latency(client)
        figures["start"] = start(client)
        figures["swap"] = swap(client)
        figures["memory"] = memory(service, client)
        fill(client, "backlog", 100_000)
    finally:
        service.stop()
    figures["recovery"] = recovery(folder / "state")
    raw = figures["roofline"]
    best = figures["throughput"][0]["drain_per_s"]
    figures["ratios"] = {
        "drain / socketpair frames": round(best / raw["socketpair_frames_per_s"], 3),
        "drain / SQLite events": round(best / raw["sqlite_events_per_s"], 3),
    }
    return figures


# -- the machine ---------------------------------------------------------------------------------


def machine():
    return {"cpus": os.cpu_count(), "kernel": os.uname().release, "python": sys.version.split()[0]}


def roofline(folder):
    return {
        "socketpair_frames_per_s": round(frames()),
        "sqlite_events_per_s": round(group_commits(folder / "roofline.db")),
    }


def frames(seconds=1.0):
    """Frames of 300 B there and back between two threads, one write each, 256 under way."""
    ours, theirs = socket.socketpair()

    def echo():
        while chunk := theirs.recv(65536):
            theirs.sendall(chunk)

    thread = threading.Thread(target=echo)
    thread.start()
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        for _ in range(256):
            ours.send(FRAME)
        left = 256 * len(FRAME)
        while left:
            left -= len(ours.recv(65536))
        count += 256
    ours.shutdown(socket.SHUT_RDWR)
    thread.join()
    ours.close()
    theirs.close()
    return count / seconds


def group_commits(path, seconds=1.5):
    """Events of 300 B appended, settled and deleted in synchronous commits of 100, by rows."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE e(b)")
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        db.execute("BEGIN")
        db.execute(f"INSERT INTO e VALUES {','.join(['(?)'] * 100)}", [FRAME] * 100)
        db.execute("COMMIT")
        db.execute("DELETE FROM e")
        count += 100
    db.close()
    return count / seconds


# -- throughput ----------------------------------------------------------------------------------


def throughput(service, client, events, *, executors):
    name = f"noop{executors}"
    apply(client, name, NO_OP, name, concurrency={"executors": executors})
    client.post(f"/v1/workers/{name}:pause")
    before, began = cpu_s(service), time.monotonic()
    publish(client, name, events)
    ingested_s, ingest_cpu_s = time.monotonic() - began, cpu_s(service) - before
    before, began = cpu_s(service), time.monotonic()
    client.post(f"/v1/workers/{name}:resume")
    completed(client, name, events)
    drained_s, drain_cpu_s = time.monotonic() - began, cpu_s(service) - before
    delete(client, name)
    return {
        "what": f"no-op, {executors} executor{'s' * (executors > 1)}",
        "ingest_per_s": round(events / ingested_s),
        "drain_per_s": round(events / drained_s),
        "ingest_us": round(1e6 * ingest_cpu_s / events, 1),
        "drain_us": round(1e6 * drain_cpu_s / events, 1),
    }


def chain(service, client, events):
    """Two workers on two topics: each event is handled, published, and handled again."""
    apply(client, "first", ECHO, "one", outputs={"topic": "two"})
    apply(client, "second", NO_OP, "two")
    client.post("/v1/workers/first:pause")
    publish(client, "one", events)
    before, began = cpu_s(service), time.monotonic()
    client.post("/v1/workers/first:resume")
    completed(client, "first", events)
    completed(client, "second", events)
    drained_s, drain_cpu_s = time.monotonic() - began, cpu_s(service) - before
    delete(client, "first")
    delete(client, "second")
    return {
        "what": "chain of 2 workers",
        "ingest_per_s": None,
        "drain_per_s": round(events / drained_s),
        "ingest_us": None,
        "drain_us": round(1e6 * drain_cpu_s / events, 1),
    }


# -- latency, starts, swaps ----------------------------------------------------------------------


def latency(client, count=60):
    apply(client, "stamp", STAMP, "stamp")
    for n in range(count):
        data = {"n": n, "sent": time.monotonic_ns()}
        client.publish("stamp", [event(data, id=f"stamp-{n}")])
        time.sleep(0.1)  # the rate is what is measured: ten a second
    completed(client, "stamp", count)
    lines = client.get(f"/v1/workers/stamp/logs?tail={count}")["items"]
    times = sorted(int(line["text"].split()[0]) for line in lines)
    delete(client, "stamp")
    return {
        "what": "publish -> handler entered, 10/s",
        "p50_us": times[len(times) // 2],
        "p99_us": times[min(len(times) - 1, len(times) * 99 // 100)],
    }


def start(client, count=15):
    times = []
    for n in range(count):
        began = time.monotonic()
        apply(client, f"fresh{n}", NO_OP, "")
        invoke(client, f"fresh{n}")
        times.append((time.monotonic() - began) * 1000)
        delete(client, f"fresh{n}")
    return {
        "what": "create -> first event handled (REST)",
        "p50_ms": round(statistics.median(times), 1),
    }


def swap(client, rate=200, seconds=3.0):
    """The longest gap between two handled events while versions are swapped under load."""
    apply(client, "gap", GAP.format(version=0), "gap")
    stop = threading.Event()
    sent = [0]

    def load():
        own = Client(client.url)
        while not stop.wait(1 / rate):
            own.publish("gap", [event({}, id=f"gap-{sent[0]}")])
            sent[0] += 1

    thread = threading.Thread(target=load)
    thread.start()
    quiet_end = time.monotonic_ns() // 1000 + int(seconds * 5e5)
    time.sleep(seconds / 2)
    for version in range(1, 4):
        apply(client, "gap", GAP.format(version=version), "gap")
        time.sleep(seconds / 6)
    stop.set()
    thread.join()
    completed(client, "gap", sent[0])
    lines = client.get("/v1/workers/gap/logs?tail=1000")["items"]
    at = sorted(int(line["text"].split()[1]) for line in lines)
    gaps = [(b - a, a > quiet_end) for a, b in itertools.pairwise(at)]
    delete(client, "gap")
    return {
        "what": f"longest pause at {rate}/s",
        "without_swap_ms": round(max((g for g, late in gaps if not late), default=0) / 1000, 1),
        "with_swap_ms": round(max((g for g, late in gaps if late), default=0) / 1000, 1),
    }


# -- memory, recovery ----------------------------------------------------------------------------


def memory(service, client, count=100):
    before = psutil.Process(service.pid).memory_info().rss
    began = time.monotonic()
    for n in range(count):
        apply(client, f"idle{n}", NO_OP, "idle")
    made_s = time.monotonic() - began
    executors = client.get("/v1/executors")["items"]
    pss = [e["memoryPssBytes"] for e in executors if e["worker"].startswith("idle")]
    grown = psutil.Process(service.pid).memory_info().rss - before
    for n in range(count):
        delete(client, f"idle{n}")
    return {
        "what": f"{count} idle workers",
        "created_s": round(made_s, 2),
        "pss_mib_each": round(statistics.mean(pss) / 2**20, 2),
        "supervisor_rss_mib": round((before + grown) / 2**20, 1),
        "supervisor_kib_per_worker": round(grown / count / 1024, 1),
    }


def fill(client, name, events):
    apply(client, name, NO_OP, name, desiredState="PAUSED")
    publish(client, name, events)


def recovery(state):
    began = time.monotonic()
    service = Service.start(state).wait_ready()
    up_s = time.monotonic() - began
    try:
        line = service.wait_line("recovered")
    finally:
        service.stop()
    return {
        "what": f"recovery of {line['tasks']} tasks",
        "recovered_ms": line["took_ms"],
        "process_to_serving_s": round(up_s, 2),
    }


# -- helpers -------------------------------------------------------------------------------------


def apply(client, name, code, topic, **spec):
    made = manifest(name, code, topic=topic, inbox=BIG, **spec)
    client.call("PUT", f"/v1/workers/{name}", made)


def invoke(client, name):
    headers = {"content-type": "application/cloudevents+json"}
    client.post(f"/v1/workers/{name}:invoke", event({}, id=1), headers=headers)


def publish(client, topic, events):
    for first in range(0, events, BATCH):
        batch = [
            event({"n": n, "p": PAD}, id=f"{topic}-{n}", datacontenttype="application/json")
            for n in range(first, min(first + BATCH, events))
        ]
        client.publish(topic, batch)


def completed(client, name, count, *, every_s=0.1):
    def done():
        return client.get(f"/v1/workers/{name}")["status"]["tasksCompleted"] >= count

    until(done, timeout_s=90, every_s=every_s, what=f"{count} events handled by {name}")


def delete(client, name):
    client.finish(client.call("DELETE", f"/v1/workers/{name}?drain=false"))


def cpu_s(service):
    times = psutil.Process(service.pid).cpu_times()
    return times.user + times.system


def show(figures):
    print(f"machine: {figures['machine']}")
    for name, value in figures["roofline"].items():
        print(f"roofline {name:28} {value:>12,}")
    head = f"{'':26}{'ingest/s':>12}{'drain/s':>12}{'us in':>9}{'us out':>9}"
    print(f"\n{head}   (us: CPU of the supervisor per event)")
    for row in figures["throughput"]:
        cells = (row["ingest_per_s"], row["drain_per_s"])
        text = "".join(f"{'-' if cell is None else f'{cell:,}':>12}" for cell in cells)
        costs = "".join(
            f"{row[k] if row[k] is not None else '-':>9}" for k in ("ingest_us", "drain_us")
        )
        print(f"{row['what']:26}{text}{costs}")
    print()
    for name in ("latency", "start", "swap", "memory", "recovery"):
        row = dict(figures[name])
        print(f"{row.pop('what'):40} " + ", ".join(f"{k} {v}" for k, v in row.items()))
    print("\nratios: " + ", ".join(f"{k} {v}" for k, v in figures["ratios"].items()))
    print(f"took {figures['seconds']} s")


if __name__ == "__main__":
    main()
