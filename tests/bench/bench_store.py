"""What the store costs: accept and settle in batches, with every commit on disk; recovery.

Run: python tests/bench/bench_store.py [--json] [folder on a real disk]. Takes under 15 seconds.

Each round hands the writer what the loop does: one commit that accepts a batch of events of 300 B,
one that settles the batch of the round before, and waits for both. `bare` does that and nothing
else; `full` adds a dedupe key and a row of history per event; `steps` settles every batch in four
parts, as outcomes arrive. The roofline is SQLite alone: insert a blob, delete an older one.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from workmanager.store import Commit, open_store, recover
from workmanager.store.connection import connect

if TYPE_CHECKING:
    import sqlite3

EVENT_BYTES = 300
BATCHES = (1, 10, 100, 1000)
RUN_S = 0.7
RECOVERED_TASKS = 100_000

WIRE = os.urandom(EVENT_BYTES)


def main() -> None:
    args = [a for a in sys.argv[1:] if a != "--json"]
    with tempfile.TemporaryDirectory(dir=args[0] if args else None) as folder:
        rows = list(measure(Path(folder)))
    if "--json" in sys.argv:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items()))


def measure(folder):
    yield {"what": "fdatasync", "per_s": fdatasyncs(folder / "sync")}
    for batch in BATCHES:
        yield roofline(folder / f"roof{batch}.db", batch)
        for mode in ("bare", "full", "steps"):
            yield cycle(folder / f"{mode}{batch}", batch, mode)
    yield recovery(folder / "recovery")


def fdatasyncs(path: Path) -> int:
    with path.open("wb", buffering=0) as file:
        count, end = 0, time.perf_counter() + 0.3
        while time.perf_counter() < end:
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            count += 1
    return round(count / 0.3)


def roofline(path: Path, batch: int):
    connection = connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 1000")
    connection.execute("CREATE TABLE s (id INTEGER PRIMARY KEY, body BLOB)")
    body = os.urandom((EVENT_BYTES + 12) * batch)
    return rate("sqlite alone", batch, lambda i: insert_and_delete(connection, i, body))


def insert_and_delete(connection: sqlite3.Connection, i: int, body: bytes) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO s VALUES (?, ?)", (i, body))
    connection.execute("DELETE FROM s WHERE id = ?", (i - 1,))
    connection.execute("COMMIT")


def cycle(folder: Path, batch: int, mode: str):
    store = open_store(folder)
    done = threading.Semaphore(0)

    def report(error: Exception | None) -> None:
        assert error is None, error
        done.release()

    def one_round(i: int) -> None:
        commits = ROUNDS[mode](i, batch)
        for commit in commits:
            store.writer.submit(commit, report)
        for _ in commits:
            done.acquire()

    try:
        return rate(mode, batch, one_round)
    finally:
        store.close()


def bare(i: int, batch: int) -> list[Commit]:
    accept = Commit(i, time.time(), [("orders", (1,), WIRE)] * batch)
    return [accept, Commit(finished=[i - 1])]


def full(i: int, batch: int) -> list[Commit]:
    accept, settle = bare(i, batch)
    now = time.time()
    accept.dedupe[1] = os.urandom(16 * batch)
    settle.history = [
        ((i - 1) << 16 | n, 1, "COMPLETED", 1, 0, "3f2a9c01d4e5", "orders-1-7",
         f"event-{i}-{n}", "/shop/orders", "order.created", now, now, 150, 1, "", "")
        for n in range(batch)
    ]  # fmt: skip
    return [accept, settle]


def steps(i: int, batch: int) -> list[Commit]:
    accept, settle = bare(i, batch)
    parts = [bytes(batch * n // 4).ljust(batch, b"\1") for n in (3, 2, 1)]
    return [accept, *(Commit(progress={i - 1: part}) for part in parts), settle]


ROUNDS = {"bare": bare, "full": full, "steps": steps}


def rate(what: str, batch: int, one_round):
    """Run rounds for RUN_S after a warm-up; return events and rounds a second and CPU."""
    i = 1
    for _ in range(20):
        one_round(i := i + 1)
    cpu, began, took_s = time.process_time(), time.perf_counter(), []
    while (start := time.perf_counter()) - began < RUN_S:
        one_round(i := i + 1)
        took_s.append(time.perf_counter() - start)
    events = len(took_s) * batch
    took_s.sort()
    return {
        "what": what,
        "batch": batch,
        "events_per_s": round(events / (time.perf_counter() - began)),
        "rounds_per_s": round(len(took_s) / (time.perf_counter() - began)),
        "p50_ms": round(took_s[len(took_s) // 2] * 1e3, 2),
        "p99_ms": round(took_s[len(took_s) * 99 // 100] * 1e3, 2),
        "cpu_us_per_event": round((time.process_time() - cpu) * 1e6 / events, 2),
    }


def recovery(folder: Path):
    store = open_store(folder)
    done = threading.Semaphore(0)
    for i in range(1, RECOVERED_TASKS // 100 + 1):
        commit = Commit(i, time.time(), [("orders", (1,), WIRE)] * 100)
        store.writer.submit(commit, lambda _: done.release())
    for _ in range(RECOVERED_TASKS // 100):
        done.acquire()
    store.close()
    began = time.perf_counter()
    store = open_store(folder)
    opened = time.perf_counter()
    found = trio.run(recover, store)
    took = time.perf_counter() - opened
    assert sum(s.done.count(0) for s in found.segments) == RECOVERED_TASKS
    store.close()
    return {
        "what": "recovery",
        "tasks": RECOVERED_TASKS,
        "open_s": round(opened - began, 3),
        "recover_s": round(took, 3),
    }


if __name__ == "__main__":
    main()
