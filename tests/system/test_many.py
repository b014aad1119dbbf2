"""Many workers at once: all serve, all are listed quickly, all are gone when deleted."""

from __future__ import annotations

import time

import psutil
import pytest
from system_harness import event, manifest, until

COUNT = 200
CODE = "def process(event, context): return context.worker"


def fds_at_rest(service):
    """Return the descriptors of the service once they stay the same."""
    seen = [service.fds()]

    def is_steady():
        seen.append(service.fds())
        return len(seen) > 5 and len(set(seen[-5:])) == 1

    until(is_steady, every_s=0.1, what=seen)
    return seen[-1]


def delete(client, names):
    operations = [client.call("DELETE", f"/v1/workers/{name}") for name in names]
    for operation in operations:
        assert client.finish(operation, timeout_s=60)["error"] is None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_hundred_workers_come_serve_and_go(shared):
    client = shared.client()
    client.post("/v1/workers", manifest("first", CODE))
    delete(client, ["first"])
    before = fds_at_rest(shared)

    began = time.monotonic()
    names = [f"w{n:03}" for n in range(COUNT)]
    for name in names:
        client.post("/v1/workers", manifest(name, CODE, topic="all"))
    created_s = time.monotonic() - began
    assert client.publish("all", [event(1, id="one")])["deliveries"] == COUNT

    def all_done():
        found = client.all("/v1/workers")
        return all(worker["status"]["tasksCompleted"] == 1 for worker in found) and found

    found = until(all_done, timeout_s=60, what="each has handled its event")
    assert [worker["name"] for worker in found] == names
    assert {worker["status"]["state"] for worker in found} == {"RUNNING"}
    began = time.monotonic()
    listed = client.all("/v1/workers")
    listed_s = time.monotonic() - began
    assert len(listed) == COUNT
    pids = [executor["pid"] for executor in client.all("/v1/executors")]
    assert len(set(pids)) == COUNT
    memory = psutil.Process(shared.pid).memory_info().rss

    began = time.monotonic()
    delete(client, names)
    deleted_s = time.monotonic() - began
    assert client.all("/v1/workers") == []
    until(lambda: not [pid for pid in pids if psutil.pid_exists(pid)], what="no process is left")
    assert fds_at_rest(shared) <= before
    client.close()
    shared.check()
    print(
        f"\n{COUNT} workers: created in {created_s:.1f} s ({created_s / COUNT * 1e3:.0f} ms each),"
        f" listed in {listed_s * 1e3:.0f} ms, deleted in {deleted_s:.1f} s,"
        f" service {memory / 2**20:.0f} MiB"
    )
