"""Order, batches, rates, and how many attempts run at once."""

from __future__ import annotations

from collections import defaultdict

from system_harness import event

NOW = {"initialInterval": 0, "jitter": "none"}
ECHO = "def process(event): return event.data"
FLAKY = """
import random
def process(event, context):
    if context.attempt < event.data["tries"]:
        raise ValueError("not this time")
    return {"key": event.data["key"], "n": event.data["n"]}
"""


def keyed(count, keys):
    """Make events over some keys, of which every third fails once and every tenth twice."""
    made = []
    for n in range(count):
        key = f"k{n % keys}"
        tries = 3 if n % 10 == 0 else 2 if n % 3 == 0 else 1
        made.append(event({"key": key, "n": n, "tries": tries}, id=n, partitionkey=key))
    return made


def by_key(records):
    found = defaultdict(list)
    for data in records:
        found[data["key"]].append(data["n"])
    return found


def test_events_of_a_key_keep_their_order_through_retries(lab):
    sink = lab.sink("out")
    retry = {"backoff": "fixed", "initialInterval": "20ms", "jitter": "none"}
    spec = {"ordering": {"mode": "key"}, "retry": retry, "concurrency": {"executors": 2}}
    lab.worker("a", FLAKY, topic="in", output="out", **spec)
    events = keyed(200, keys=16)
    lab.publish("in", events[:100])
    lab.publish("in", events[100:])
    found = by_key(sink.data(200))
    assert set(found) == {f"k{i}" for i in range(16)}
    for key, numbers in found.items():
        assert numbers == sorted(numbers), key


def test_key_can_be_any_attribute(lab):
    sink = lab.sink("out")
    spec = {"ordering": {"mode": "key", "key": "event.subject"}, "retry": NOW}
    lab.worker("a", FLAKY, topic="in", output="out", **spec)
    data = [{"key": "s", "n": n, "tries": 2 if n == 0 else 1} for n in range(5)]
    lab.publish("in", [event(d, id=d["n"], subject="s") for d in data])
    lab.publish("in", [event({"key": "-", "n": 9, "tries": 1}, id=9)])
    assert by_key(sink.data(6))["s"] == [0, 1, 2, 3, 4]


def test_dead_letter_frees_its_key(lab):
    sink = lab.sink("out")
    spec = {"ordering": {"mode": "key"}, "retry": {**NOW, "maximumAttempts": 2}}
    lab.worker("a", FLAKY, topic="in", output="out", **spec)
    data = [{"key": "k", "n": n, "tries": 99 if n == 1 else 1} for n in range(4)]
    lab.publish("in", [event(d, id=d["n"], partitionkey="k") for d in data])
    assert by_key(sink.data(3))["k"] == [0, 2, 3]


def test_strict_order_holds_for_all_events(lab):
    sink = lab.sink("out")
    spec = {"ordering": {"mode": "strict"}, "retry": NOW, "concurrency": {"executors": 2}}
    lab.worker("a", FLAKY, topic="in", output="out", **spec)
    lab.publish("in", keyed(100, keys=7))
    assert [data["n"] for data in sink.data(100)] == list(range(100))


def test_without_order_a_failing_event_holds_nobody_up(lab):
    sink = lab.sink("out")
    retry = {"backoff": "fixed", "initialInterval": "300ms", "jitter": "none"}
    lab.worker("a", FLAKY, topic="in", output="out", retry=retry)
    data = [{"key": "k", "n": n, "tries": 2 if n == 0 else 1} for n in range(20)]
    lab.publish("in", [event(d, id=d["n"], partitionkey="k") for d in data])
    assert by_key(sink.data(20))["k"] == [*range(1, 20), 0]


BATCH = """
def process_batch(events):
    return {"ids": [event.id for event in events]}
"""


def test_batches_have_their_size_and_the_last_waits_for_its_window(lab):
    sink = lab.sink("out")
    batch = {"size": 10, "window": "300ms"}
    lab.worker("a", BATCH, topic="in", output="out", batch=batch)
    lab.send("in", *range(25))
    sizes = [len(data["ids"]) for data in sink.data(3)]
    assert sizes == [10, 10, 5]
    handled = [name for data in sink.data(3) for name in data["ids"]]
    assert sorted(handled, key=int) == [str(n) for n in range(25)]


def test_batch_without_a_window_takes_what_is_there(lab):
    sink = lab.sink("out")
    worker = lab.worker("a", BATCH, topic="in", output="out", batch={"size": 100}, start=False)
    lab.send("in", *range(7))
    worker.verb("start")
    assert [len(data["ids"]) for data in sink.data(1)] == [7]


def test_batch_handler_without_a_size_gets_one_event_at_a_time(lab):
    sink = lab.sink("out")
    lab.worker("a", BATCH, topic="in", output="out")
    lab.send("in", *range(5))
    assert [len(data["ids"]) for data in sink.data(5)] == [1] * 5


POISONED = """
def process_batch(events):
    if any(event.data == "bad" for event in events):
        BAD
    return {"ids": [event.id for event in events]}
"""


def poisoned(lab, bad, **spec):
    """Run 64 events of which one is bad through a batch worker; returns it and what came out."""
    sink = lab.sink("out")
    spec = {"batch": {"size": 64, "window": "10s"}, "retry": {"maximumAttempts": 1}, **spec}
    worker = lab.worker("a", POISONED.replace("BAD", bad), topic="in", output="out", **spec)
    lab.send("in", *["bad" if n == 40 else "good" for n in range(64)])
    worker.until_idle()
    status = worker.status()
    assert (status["tasksCompleted"], status["tasksFailed"]) == (63, 1)
    [letter] = worker.dead_letters()
    assert letter["event"]["id"] == "40"
    outputs = sink.data(6)  # halves of 64 without the bad one: 32, 16, 8, 4, 2, 1
    assert sorted(len(data["ids"]) for data in outputs) == [1, 2, 4, 8, 16, 32]
    return letter


def test_batch_that_fails_is_halved_until_the_bad_event_is_alone(lab):
    letter = poisoned(lab, "raise ValueError('spoilt')")
    assert (letter["reason"], letter["attempts"]) == ("ATTEMPTS_EXHAUSTED", 1)


def test_batch_that_kills_is_halved_until_the_bad_event_is_alone(lab):
    restart = {"backoffInitial": "10ms", "backoffMax": "10ms", "startLimitBurst": 0}
    letter = poisoned(
        lab, "__import__('os')._exit(1)", restart=restart, deadLetter={"maxCrashes": 1}
    )
    assert (letter["reason"], letter["crashes"]) == ("CRASHED", 1)


def test_batch_that_is_not_to_be_halved_fails_as_one(lab):
    batch = {"size": 4, "window": "10s", "bisectOnError": False}
    code = POISONED.replace("BAD", "raise ValueError")
    worker = lab.worker("a", code, topic="in", batch=batch, retry={"maximumAttempts": 1})
    lab.send("in", "good", "bad", "good", "good")
    worker.until(lambda status: status["tasksFailed"] == 4)


def test_rate_limit_counts_attempts_in_its_window(lab):
    code = "import time\ndef process(event): return time.monotonic()"
    sink = lab.sink("out")
    rate = {"limit": 10, "per": "500ms", "burst": 10}
    lab.worker("a", code, topic="in", output="out", rateLimit=rate)
    lab.send("in", *range(40))
    times = sorted(sink.data(40))
    # A bucket of 10 that refills 10 per 500 ms lets at most 10 + 10 into any window that long.
    for start in times:
        assert sum(start <= t < start + 0.499 for t in times) <= 20
    assert times[-1] - times[0] >= 1.4  # 30 of the 40 had to wait for their tokens


def test_async_attempts_run_beside_each_other_up_to_their_limit(lab):
    code = """
    import asyncio
    running = most = 0
    async def process(event):
        global running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        return most
    """
    sink = lab.sink("out")
    spec = {"concurrency": {"perExecutor": 8}}
    lab.worker("a", code, topic="in", output="out", start=False, **spec)
    lab.send("in", *range(40))
    lab.client.post(f"/v1/workers/{lab.name('a')}:start")
    assert max(sink.data(40)) == 8


def test_sync_attempts_run_in_threads_up_to_their_limit(lab):
    code = """
    import threading
    barrier = threading.Barrier(4)
    def process(event):
        barrier.wait(10)
        return "four at once"
    """
    sink = lab.sink("out")
    lab.worker("a", code, topic="in", output="out", concurrency={"perExecutor": 4})
    lab.send("in", *range(8))
    assert sink.data(8) == ["four at once"] * 8


def test_executors_share_the_work(lab):
    code = """
    import time, uuid
    me = str(uuid.uuid4())
    def process(event):
        time.sleep(0.01)
        return me
    """
    sink = lab.sink("out")
    worker = lab.worker("a", code, topic="in", output="out", concurrency={"executors": 2})
    assert len(worker.executors()) == 2
    lab.send("in", *range(60))
    names = sink.data(60)
    assert len(set(names)) == 2
    assert min(names.count(name) for name in set(names)) >= 15
    worker.patch({"concurrency": {"executors": 3}})
    worker.until(lambda status: status["executorsReady"] == 3)
    worker.patch({"concurrency": {"executors": 1}})
    worker.until(lambda status: status["executorsReady"] == 1)
