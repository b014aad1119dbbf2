"""Several hosts of one app-id: the same workers on each, and groups that exclude across them."""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from system_harness import Lab, Service, event, manifest, serving, until

sys.path.insert(0, str(Path(__file__).parents[1] / "dapr"))

from sidecars import DAPRD, fake_sidecar, real_sidecar, redis_server

REDIS = {"readTimeout": "500ms", "poolSize": "200"}  # a stream holds a connection of the pool
NO_CAGE = ("--set", "sandbox_level=none")  # handlers write into a file of the test's
ECHO = "def process(event): return {'v': 1}"


@contextmanager
def two_sidecars(app_id, folder):
    """Run two sidecars of one app-id over one Redis: real ones where DAPRD names a daprd."""
    if not DAPRD:
        with fake_sidecar(app_id) as first:
            yield first, first.another()
        return
    with (
        redis_server(folder / "redis") as port,
        real_sidecar(app_id, folder, redis_port=port, **REDIS) as first,
        real_sidecar(app_id, folder, redis_port=port, **REDIS) as second,
    ):
        yield first, second


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Run two services of one app-id over one state, each beside a sidecar of its own."""
    with (
        two_sidecars("app", tmp_path_factory.mktemp("sidecars")) as (first, second),
        serving(tmp_path_factory.mktemp("a"), *NO_CAGE, environ=first.environment) as a,
        serving(tmp_path_factory.mktemp("b"), *NO_CAGE, environ=second.environment) as b,
    ):
        yield (a, first), (b, second)


@pytest.fixture
def pair(hosts):
    labs = [Lab(service) for service, _ in hosts]
    yield labs
    for lab in labs:
        lab.close()


def shown(lab, name):
    """The worker as another host shows it; None while it does not know it."""
    status, body = lab.client.send("GET", f"/v1/workers/{name}")
    return json.loads(body) if status == 200 else None


def test_a_worker_created_on_one_host_appears_changes_and_goes_on_the_other(pair):
    here, there = pair
    worker = here.worker("w", ECHO, topic="in")
    found = until(lambda: shown(there, worker.name), what="the worker on the other host")
    assert found["uid"] == worker.get()["uid"]
    until(lambda: shown(there, worker.name)["status"]["state"] == "RUNNING")

    version = worker.put_code("def process(event): return {'v': 2}")["id"]
    until(lambda: shown(there, worker.name)["status"]["currentVersion"] == version)
    outputs = there.client.post(
        f"/v1/workers/{worker.name}:invoke",
        event(1, id=1),
        headers={"content-type": "application/cloudevents+json"},
    )
    print(outputs)

    worker.verb("stop")
    until(lambda: shown(there, worker.name)["status"]["state"] == "STOPPED")
    there.client.finish(there.client.call("DELETE", f"/v1/workers/{worker.name}"))
    until(lambda: shown(here, worker.name) is None)


# -- groups --------------------------------------------------------------------------------------

RUN = """
import os, time
def process(event, context):
    began = time.monotonic_ns()
    time.sleep(event.data["s"])
    line = f"{event.id} {context.fencing_token} {began} {time.monotonic_ns()}\\n"
    with open(os.environ["LOG"], "ab", buffering=0) as log:
        log.write(line.encode())
"""
BLOCK = 10_000  # tokens of a lease
TURN = {"maxHold": "1s", "scope": "cluster"}
SHORT = {"timeouts": {"startToClose": "1s"}, "drain": {"killAfter": "500ms"}}
TTL_S = 5  # lease.ttl_for(1, 1.5)


MANY = 250  # events of which each host gets some: a sidecar takes up to 110 that wait


class Run:
    """One attempt, as the handler wrote it down at its end."""

    def __init__(self, line):
        self.id, *numbers = line.split()
        self.token, self.began, self.ended = map(int, numbers)


def runs(path):
    """The attempts so far, in the order of their beginning."""
    if not path.exists():
        return []
    return sorted((Run(line) for line in path.read_text().splitlines()), key=lambda run: run.began)


def check_exclusion(found):
    """No two at once, and tokens that never fall."""
    for one, other in pairwise(found):
        assert one.ended <= other.began, (vars(one), vars(other))
        assert one.token <= other.token, (vars(one), vars(other))


def grouped(lab, name, log, **spec):
    group = {"name": lab.name("g"), **spec.pop("group", {})}
    return lab.worker(name, RUN, topic="in", env={"LOG": str(log)}, group=group, **spec)


def publish(lab, topic, ids, seconds):
    lab.client.publish(topic, [event({"s": seconds}, id=number) for number in ids])


def test_two_hosts_handle_two_thousand_events_of_a_group_one_at_a_time(pair, tmp_path):
    here, there = pair
    log = tmp_path / "log"
    tmp_path.chmod(0o777)
    shared = {"maxHold": "500ms", "scope": "cluster"}  # Redis brings some events to both hosts
    workers = [grouped(here, name, log, group=shared) for name in ("a", "b")]
    topic = here.topic("in")
    for worker in workers:
        until(lambda name=worker.name: shown(there, name), what=worker.name)
    for start in range(0, 2000, 200):  # Dapr gives each event to one of the hosts
        publish(here, topic, range(start, start + 100), 0.0005)
        publish(there, topic, range(start + 100, start + 200), 0.0005)
    until(lambda: len(runs(log)) >= 2000, timeout_s=60, what="2,000 events")
    found = runs(log)
    check_exclusion(found)
    assert sorted(int(run.id) for run in found) == list(range(2000))
    group = here.client.get(f"/v1/groups/{here.name('g')}")
    assert group["fencingToken"] > found[-1].token - BLOCK
    metrics = here.client.send("GET", "/metrics")[1].decode()
    assert f'workmanager_group_leases_total{{group="{group["name"]}"}}' in metrics
    turns = len({run.token for run in found})
    print(f"\n2,000 events on two hosts in {turns} leases")


@pytest.fixture
def frail(tmp_path):
    """Two hosts that may be killed or frozen, and their sidecars."""
    tmp_path.chmod(0o777)
    with two_sidecars("frail", tmp_path) as sidecars, ExitStack() as stack:
        services = [
            Service.start(tmp_path / name, *NO_CAGE, environ=sidecar.environment)
            for name, sidecar in zip("ab", sidecars, strict=True)
        ]
        for service in services:
            stack.callback(end, service)
        labs = [Lab(service.wait_ready()) for service in services]
        for lab in labs:
            stack.callback(lab.client.close)
        yield labs, sidecars


def end(service):
    if service.process.poll() is None:
        service.process.kill()
        service._collect()


def holder(lab, group):
    holders = lab.client.get(f"/v1/groups/{group}")["holders"]
    return holders[0] if holders else None


def who_holds(labs, group):
    """Wait until a host holds the group; returns it first, then the other, and what it holds."""

    def look():
        for lab in labs:
            held = holder(lab, group)
            if held is not None and held["worker"]:
                return lab, next(other for other in labs if other is not lab), held
        return None

    return until(look, every_s=0.005)


def test_a_host_that_is_killed_holds_its_group_up_until_its_lease_runs_out(frail, tmp_path):
    labs, sidecars = frail
    log, ids = tmp_path / "log", {str(n) for n in range(12)}
    worker = grouped(labs[0], "w", log, group=TURN, **SHORT)
    topic, group = labs[0].topic("in"), labs[0].name("g")
    until(lambda: shown(labs[1], worker.name))
    publish(labs[0], topic, ids, 0.4)
    until(lambda: len(runs(log)) >= 2)
    dead, alive, held = who_holds(labs, group)
    dead.service.process.kill()
    killed_at = time.monotonic_ns()
    end(dead.service)
    publish(alive, topic, ["after"], 0.01)
    seen = until(lambda: holder(alive, group))
    assert (seen["token"], seen["host"]) == (held["token"], held["host"])
    path = f"/v1/workers/{worker.name}:explain"
    until(lambda: "held by another host" in alive.client.get(path)["summary"])
    taken = until(lambda: [run for run in runs(log) if run.began > killed_at])[0]
    assert taken.began - killed_at < TTL_S * 1e9
    assert taken.token > held["token"]
    environ = sidecars[labs.index(dead)].environment
    with serving(dead.service.state, *NO_CAGE, environ=environ):
        until(lambda: {run.id for run in runs(log)} == ids | {"after"}, timeout_s=40)
        check_exclusion(runs(log))
    print(f"\ntaken over after {(taken.began - killed_at) / 1e9:.1f} s of {TTL_S}")


def test_the_outcome_of_a_host_that_was_frozen_past_its_lease_is_dropped(frail, tmp_path):
    labs, _ = frail
    log = tmp_path / "log"
    worker = grouped(labs[0], "w", log, group=TURN, **SHORT)
    topic, group = labs[0].topic("in"), labs[0].name("g")
    until(lambda: shown(labs[1], worker.name))
    publish(labs[0], topic, ["late"], 0.7)
    frozen, other, held = who_holds(labs, group)
    frozen.service.process.send_signal(signal.SIGSTOP)
    following = {f"next-{n}" for n in range(MANY)}
    publish(other, topic, following, 0.0005)
    taken = until(lambda: [run for run in runs(log) if run.id in following])[0]
    assert taken.token > held["token"]
    frozen.service.process.send_signal(signal.SIGCONT)
    # Its first run ended while the host was frozen; that was too late to be written.
    again = until(lambda: [run for run in runs(log) if run.id == "late"][1:])
    assert again[0].token > taken.token
    until(lambda: {run.id for run in runs(log)} == following | {"late"})
    check_exclusion(runs(log))

    def tasks():
        found = frozen.client.all("/v1/tasks", worker=worker.name)
        return [task for task in found if task["eventId"] == "late" and task["endedAt"]]

    [task] = until(tasks)
    assert (task["status"], task["attempt"]) == ("COMPLETED", 1)
    metrics = frozen.client.send("GET", "/metrics")[1].decode()
    assert f'workmanager_tasks_lease_lost_total{{worker="{worker.name}"}} 1.0' in metrics


def test_while_the_lock_store_is_away_events_wait_and_everything_says_why(hosts, pair, tmp_path):
    (_, sidecar), _ = hosts
    if DAPRD:
        pytest.skip("a fault of the fake")
    here, _ = pair
    tmp_path.chmod(0o777)
    worker = grouped(here, "w", tmp_path / "log")
    sidecar.fault("TryLockAlpha1", kind="refuse", code="INTERNAL")
    try:
        publish(here, here.topic("in"), range(3), 0.001)
        path = f"/v1/workers/{worker.name}:explain"
        until(lambda: "lock cannot be had" in here.client.get(path)["summary"])
        health = here.client.get("/v1/health?verbose=true")
        assert health["status"] == "degraded"
        assert f"group/{here.name('g')}" in {check["name"] for check in health["checks"]}
        conditions = {c["type"]: c for c in worker.status()["conditions"]}
        assert conditions["GroupReady"]["reason"] == "LOCK_UNAVAILABLE"
        assert worker.status()["backlog"] == 3
    finally:
        sidecar.heal()
    worker.until_idle()
    assert len(runs(tmp_path / "log")) == 3
    assert worker.dead_letters() == []


def test_an_operator_takes_a_groups_lock_from_a_host_elsewhere(pair, tmp_path):
    here, there = pair
    tmp_path.chmod(0o777)
    log = tmp_path / "log"
    group = {"maxHold": "20s"}
    worker = grouped(here, "w", log, group=group, timeouts={"startToClose": "30s"})
    topic, name = here.topic("in"), here.name("g")
    until(lambda: shown(there, worker.name))
    publish(here, topic, ["long"], 20)
    _, other, held = who_holds(pair, name)
    publish(here, topic, [f"short-{n}" for n in range(MANY)], 0.0005)
    until(lambda: shown(other, worker.name)["status"]["backlog"])
    seen = until(lambda: holder(other, name))
    assert (seen["worker"], seen["host"], seen["token"]) == ("", held["host"], held["token"])
    path = f"/v1/groups/{name}:release"
    other.client.post(path, {"token": seen["token"] + BLOCK}, expect=409)
    assert runs(log) == []
    other.client.post(path, {"token": seen["token"]})
    until(lambda: runs(log), what="the other host's events")
    check_exclusion(runs(log))
    # The attempt that had the lock is dead. Whoever gets it next, be it the same host, is later.
    assert all(run.token > held["token"] for run in runs(log))


def test_two_applications_that_share_their_stores_handle_each_event_of_a_group_once(tmp_path):
    tmp_path.chmod(0o777)
    log, group = tmp_path / "log", {"name": "g", "scope": "cluster", "maxHold": "500ms"}
    with ExitStack() as stack:
        one = stack.enter_context(fake_sidecar("one", "--key-prefix", "shared"))
        labs = []
        for app, sidecar in (("one", one), ("two", one.another("two"))):
            service = serving(tmp_path / app, *NO_CAGE, environ=sidecar.environment)
            labs.append(Lab(stack.enter_context(service)))
            stack.callback(labs[-1].client.close)
            spec = {"env": {"LOG": str(log)}, "group": group}
            labs[-1].client.post("/v1/workers", manifest("w", RUN, topic="in", **spec))
        assert len({shown(lab, "w")["uid"] for lab in labs}) == 2  # each has its own registry
        until(lambda: all(shown(lab, "w")["status"]["state"] == "RUNNING" for lab in labs))
        publish(labs[0], "in", range(MANY), 0.0005)
        until(lambda: len(runs(log)) >= MANY)
        for lab in labs:
            until(lambda lab=lab: not shown(lab, "w")["status"]["backlog"])
        check_exclusion(runs(log))
        assert sorted(int(run.id) for run in runs(log)) == list(range(MANY))


def test_keys_of_a_group_exclude_across_hosts_and_run_beside_each_other(pair, tmp_path):
    here, there = pair
    tmp_path.chmod(0o777)
    log, keys = tmp_path / "log", 4
    worker = grouped(here, "w", log, group={"key": "partitionkey"}, concurrency={"executors": 2})
    until(lambda: shown(there, worker.name))
    for lab in pair:
        lab.client.publish(
            here.topic("in"),
            [
                event({"s": 0.002}, id=f"{n % keys}-{lab.prefix}-{n}", partitionkey=f"k{n % keys}")
                for n in range(100)
            ],
        )
    until(lambda: len(runs(log)) >= 100 + 100 * (here.prefix != there.prefix), timeout_s=40)
    found = runs(log)
    for key in range(keys):
        check_exclusion([run for run in found if run.id.startswith(f"{key}-")])
    assert any(one.ended > other.began for one, other in pairwise(found))


def test_a_host_that_starts_again_need_not_wait_for_the_lease_it_had(tmp_path):
    tmp_path.chmod(0o777)
    log = tmp_path / "log"
    with fake_sidecar("app") as sidecar:
        service = Service.start(tmp_path / "a", *NO_CAGE, environ=sidecar.environment)
        lab = Lab(service.wait_ready())
        grouped(lab, "w", log)  # its lease lives for 73 s
        publish(lab, lab.topic("in"), range(3), 0.3)
        until(lambda: runs(log))
        lab.client.close()
        end(service)
        with serving(tmp_path / "a", *NO_CAGE, environ=sidecar.environment) as again:
            until(lambda: {run.id for run in runs(log)} == {"0", "1", "2"})
            again.wait_line("former_lease_freed")
        check_exclusion(runs(log))
