"""Workers that exclude each other: never two at once, each event once, tokens that rise."""

from __future__ import annotations

import os
import signal
from collections import Counter, defaultdict

import pytest
from system_harness import SIDECARS, event, until

SPAN = """
import time
def process(event, context):
    began = time.monotonic_ns()
    time.sleep(SECONDS)
    return {"id": event.id, "by": context.worker, "fence": context.fencing_token,
            "key": event.extensions.get("partitionkey", ""),
            "span": [began, time.monotonic_ns()], "attempt": context.attempt}
"""


def span(seconds):
    return SPAN.replace("SECONDS", str(seconds))


def most_at_once(records):
    """Return how many of the spans overlap at most."""
    edges = sorted(
        edge for record in records for edge in ((record["span"][0], 1), (record["span"][1], -1))
    )
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


def pair(lab, code, **spec):
    sink = lab.sink("out", lean=True)
    workers = [lab.worker(name, code, topic="in", output="out", **spec) for name in ("a", "b")]
    return sink, workers


def test_two_workers_never_run_at_once_and_share_a_thousand_events(lab):
    sink, workers = pair(lab, span(0.0002), group=lab.name("g"))
    for start in range(0, 1000, 100):
        lab.publish("in", [event(n, id=n) for n in range(start, start + 100)])
    records = sink.take(1000)
    assert Counter(record["id"] for record in records) == Counter(str(n) for n in range(1000))
    assert most_at_once(records) == 1
    shares = Counter(record["by"] for record in records)
    assert set(shares) == {worker.name for worker in workers}
    # A turn has one token; tokens rise from turn to turn.
    by_time = sorted(records, key=lambda record: record["span"][0])
    tokens = [record["fence"] for record in by_time]
    assert tokens == sorted(tokens)
    holders = defaultdict(set)
    for record in records:
        holders[record["fence"]].add(record["by"])
    assert all(len(names) == 1 for names in holders.values())
    print(f"\n1000 events in {len(holders)} turns, shares {dict(shares)}")


def test_outputs_carry_the_fencing_token(lab):
    sink = lab.sink("out")
    lab.worker("a", span(0), topic="in", output="out", group=lab.name("g"))
    lab.send("in", 1)
    [record] = sink.take(1)
    assert record["wmfence"] == str(record["data"]["fence"])


def test_each_member_can_get_every_event_one_after_the_other(lab):
    group = {"name": lab.name("g"), "delivery": "each"}
    sink, workers = pair(lab, span(0.001), group=group)
    assert lab.send("in", *range(50))["deliveries"] == 100
    records = sink.take(100)
    assert Counter(record["by"] for record in records) == {w.name: 50 for w in workers}
    assert most_at_once(records) == 1


def test_group_with_a_key_excludes_per_key_only(lab):
    group = {"name": lab.name("g"), "key": "partitionkey"}
    sink, _ = pair(lab, span(0.01), group=group, concurrency={"executors": 2})
    events = [event(n, id=n, partitionkey=f"k{n % 5}") for n in range(100)]
    lab.publish("in", events)
    records = sink.take(100)
    assert len({record["id"] for record in records}) == 100
    assert most_at_once(records) > 1
    by_key = defaultdict(list)
    for record in records:
        by_key[record["key"]].append(record)
    assert len(by_key) == 5
    for mine in by_key.values():
        assert most_at_once(mine) == 1
        tokens = [r["fence"] for r in sorted(mine, key=lambda record: record["span"][0])]
        assert tokens == sorted(set(tokens))


def test_group_with_a_limit_runs_that_many(lab):
    group = {"name": lab.name("g"), "limit": 2, "delivery": "each"}
    sink = lab.sink("out", lean=True)
    for name in "abcd":
        lab.worker(name, span(0.01), topic="in", output="out", group=group)
    lab.send("in", *range(20))
    assert most_at_once(sink.take(80)) == 2


def test_async_attempts_of_a_group_do_not_run_beside_each_other(lab):
    code = span(0.002).replace("def process", "async def process")
    code = code.replace("time.sleep", "await asyncio.sleep").replace(
        "import time", "import asyncio, time"
    )
    spec = {"group": lab.name("g"), "concurrency": {"perExecutor": 8}}
    sink, _ = pair(lab, code, **spec)
    lab.send("in", *range(100))
    assert most_at_once(sink.take(100)) == 1


def test_several_executors_of_one_worker_are_members_too(lab):
    spec = {"group": lab.name("g"), "concurrency": {"executors": 3}}
    sink, _ = pair(lab, span(0.001), **spec)
    lab.send("in", *range(100))
    assert most_at_once(sink.take(100)) == 1


def test_waiting_for_the_group_costs_no_attempt(lab):
    sink, workers = pair(lab, span(0.05), group=lab.name("g"))
    lab.send("in", *range(10))
    assert {record["attempt"] for record in sink.take(10)} == {1}
    for worker in workers:
        assert {task["attempt"] for task in worker.tasks()} <= {1}


def test_survivor_goes_on_when_the_holder_is_killed(lab):
    code = """
    import time
    def process(event, context):
        if event.data == "hang" and context.worker.endswith("-a"):
            print("holding", flush=True)
            while True:
                time.sleep(0.01)
        return {"by": context.worker, "fence": context.fencing_token}
    """
    group = {"name": lab.name("g"), "delivery": "each"}
    restart = {"backoffInitial": "30s", "backoffMax": "30s"}
    sink, (first, second) = pair(lab, code, group=group, restart=restart)
    second.verb("stop")
    lab.send("in", "hang")
    until(lambda: "holding" in first.texts(), what="the first holds the group")
    second.verb("start")
    lab.publish("in", [event("x", id="x")])
    shown = lab.client.get(f"/v1/groups/{lab.name('g')}")
    assert [holder["worker"] for holder in shown["holders"]] == [first.name]
    assert sink.take(0) == []
    os.kill(first.executors()[0]["pid"], signal.SIGKILL)
    records = sink.take(2)
    assert {record["by"] for record in records} == {second.name}
    assert min(record["fence"] for record in records) > shown["holders"][0]["token"]


@pytest.mark.parametrize("verb", ["stop", "delete", "pause"])
def test_member_that_leaves_lets_the_others_go_on(lab, verb):
    sink, (first, second) = pair(lab, span(0.001), group=lab.name("g"))
    lab.send("in", *range(50))
    if verb == "delete":
        lab.client.finish(lab.client.call("DELETE", first.path))
    else:
        first.verb(verb)
    lab.publish("in", [event(n, id=f"more{n}") for n in range(50)])
    second.until_idle()
    more = {task["eventId"] for task in second.tasks()}
    assert {f"more{n}" for n in range(50)} <= more  # those who run come first
    if verb != "delete":
        first.verb("start")
        assert len({record["id"] for record in sink.take(100)}) == 100


def test_stuck_holder_can_be_released_by_its_token(lab):
    code = """
    import time
    def process(event, context):
        while context.fencing_token == FIRST:
            time.sleep(0.01)
        return context.fencing_token
    """
    sink = lab.sink("out")
    worker = lab.worker(
        "a", code.replace("FIRST", "1"), topic="in", output="out", group=lab.name("g")
    )
    lab.send("in", 1)
    worker.until(lambda status: status["inFlight"] == 1)
    path = f"/v1/groups/{lab.name('g')}"
    [holder] = lab.client.get(path)["holders"]
    assert holder["token"] == 1
    lab.client.post(f"{path}:release", {"token": 99}, expect=409)
    lab.client.post(f"{path}:release", {"token": 1})
    assert sink.data(1)[0] > 1
    worker.until_idle()
    [task] = worker.tasks()
    assert (task["attempt"], task["crashes"]) == (1, 0)


def test_partition_key_sticks_to_one_member(lab):
    sink, _ = pair(lab, span(0), group=lab.name("g"))
    lab.publish("in", [event(n, id=n, partitionkey=f"k{n % 8}") for n in range(80)])
    by_key = defaultdict(set)
    for record in sink.take(80):
        by_key[record["key"]].add(record["by"])
    assert {len(names) for names in by_key.values()} == {1}
    assert len(set.union(*by_key.values())) == 2


def test_swap_and_crash_inside_a_group_keep_its_promise(lab):
    code = span(0.001).replace(
        "began =", "event.data == 'bad' and __import__('os')._exit(1)\n    began ="
    )
    spec = {"group": lab.name("g"), "restart": {"backoffInitial": "20ms", "startLimitBurst": 0}}
    sink, (first, second) = pair(lab, code, **spec)
    lab.send("in", *range(100), "bad", *range(100))
    first.put_code(code + "\n")
    second.put_code(code + "\n")
    records = sink.take(200)
    for worker in (first, second):
        worker.until_idle()
    assert most_at_once(records) == 1
    letters = first.dead_letters() + second.dead_letters()
    assert [letter["event"]["data"] for letter in letters] == ["bad"]


def test_a_lock_across_hosts_is_refused_where_nothing_can_hold_it(lab):
    if SIDECARS.is_on:
        pytest.skip("a sidecar can")
    group = {"name": lab.name("g"), "scope": "cluster"}
    refused = lab.client.post("/v1/workers", lab.manifest("a", span(0), group=group), expect=400)
    assert [fault["pointer"] for fault in refused["errors"]] == ["spec.group.scope"]
    worker = lab.worker("b", span(0), group=lab.name("g"))
    refused = worker.apply(span(0), group=group, expect=400)
    assert "embedded" in refused["detail"]
    assert worker.get()["spec"]["group"]["scope"] == "auto"
