"""Kill the service with SIGKILL at random moments under load, again and again; then count.

    python tests/system/kill_nine.py --rounds 50 --seed 1 [--backend dapr]

Every accepted event must have exactly one terminal outcome per worker, every output must be there,
and an output that came twice must carry the same id. What is declared must be as it was last
acknowledged. A round starts the service, lets publishers and an operator work against it, and kills
it: mostly while it serves, sometimes while it recovers.
"""

from __future__ import annotations

import argparse
import http.client
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from system_harness import SIDECARS, ProblemError, Service, event, manifest, serving, until

LOST = (OSError, http.client.HTTPException)  # how a call ends whose service is killed
PUBLISHERS = 2
CHUNK = 10
KINDS = ("ok", "ok", "ok", "two", "none", "drop", "flaky", "bad", "slow")
OUTPUTS = {"ok": 1, "two": 2, "flaky": 1, "slow": 1}
ENDS = {"drop": "SKIPPED", "bad": "FAILED"}
ATTEMPTS = {"flaky": 2, "bad": 3, "drop": 0}
OPTIONS = ("--set", "history_tasks=1000000")

WORK = """
# version VERSION
import time
from workmanager_executor import Drop
def process(event, context):
    kind = event.data["kind"]
    if kind == "drop":
        raise Drop
    if kind == "bad" or (kind == "flaky" and context.attempt < 2):
        raise ValueError(kind)
    if kind == "slow":
        time.sleep(0.005)
    if kind == "none":
        return
    yield {"of": event.id, "n": 0}
    if kind == "two":
        yield {"of": event.id, "n": 1}
"""
NEXT = "def process(event): return None"


@dataclass
class Story:
    """What was acknowledged so far, and what may have happened besides.

    Attributes:
        accepted: Kind of each event by its id; each was acknowledged, at the latest by a later try.
        versions: Numbers of `work`'s code that may be current: acknowledged last, or asked for.
        states: Desired states that `idle` may have, likewise.
    """

    seed: int
    accepted: dict[str, str] = field(default_factory=dict)
    versions: set[int] = field(default_factory=lambda: {0})
    states: set[str] = field(default_factory=lambda: {"RUNNING"})
    next_version: int = 1
    calls_lost: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Publisher(threading.Thread):
    """Publishes batches; one that was not acknowledged is sent again in the next round."""

    def __init__(self, story, number):
        super().__init__(daemon=True)
        self.story = story
        self.rng = random.Random(f"{story.seed}/{number}")
        self.number = number
        self.count = 0
        self.pending = []
        self.service = None
        self.error = None

    def go(self, service):
        """Make a thread that works against *service* and goes on where this one ended."""
        fresh = Publisher(self.story, self.number)
        fresh.rng, fresh.count, fresh.pending = self.rng, self.count, self.pending
        fresh.service = service
        fresh.start()
        return fresh

    def run(self):
        try:
            client = self.service.client()
            while True:
                self._publish(client)
        except LOST:
            self.story.calls_lost += 1
        except Exception as error:  # noqa: BLE001 - told by whoever joins
            self.error = error

    def _publish(self, client):
        if not self.pending:
            for _ in range(CHUNK):
                self.pending.append((f"p{self.number}-{self.count}", self.rng.choice(KINDS)))
                self.count += 1
        events = [event({"kind": kind}, id=name) for name, kind in self.pending]
        client.publish("in", events)
        with self.story.lock:
            self.story.accepted.update(self.pending)
        self.pending = []


class Operator(threading.Thread):
    """Swaps code and changes desired states."""

    VERBS = (("stop", "STOPPED"), ("start", "RUNNING"), ("pause", "PAUSED"))

    def __init__(self, story, service, rng):
        super().__init__(daemon=True)
        self.story, self.service, self.rng = story, service, rng
        self.error = None

    def run(self):
        try:
            client = self.service.client()
            while True:
                self._swap(client)
                for verb, state in self.rng.sample(self.VERBS, 2):
                    self.story.states.add(state)
                    client.post(f"/v1/workers/idle:{verb}")
                    self.story.states = {state}
        except LOST:
            self.story.calls_lost += 1
        except Exception as error:  # noqa: BLE001 - told by whoever joins
            self.error = error

    def _swap(self, client):
        number, self.story.next_version = self.story.next_version, self.story.next_version + 1
        self.story.versions.add(number)
        code = WORK.replace("VERSION", str(number)).encode()
        headers = {"content-type": "text/x-python"}
        client.call("PUT", "/v1/workers/work/code", code, headers=headers)
        self.story.versions = {number}


def declare(service):
    """Create the workers of the story."""
    retry = {"initialInterval": "50ms", "backoff": "fixed", "jitter": "full", "maximumAttempts": 3}
    spec = {"retry": retry, "inbox": {"maxCount": 1_000_000}}
    client = service.client()
    for made in (
        manifest("next", NEXT, topic="out", inbox=spec["inbox"], dedupe={"window": 0}),
        manifest("work", WORK.replace("VERSION", "0"), topic="in", output="out", **spec),
        manifest("idle", NEXT),
    ):
        client.post("/v1/workers", made)
    client.close()


def play_round(story, state, publishers, rng):
    """Start the service, let everybody work, and kill it; returns the publishers to go on with."""
    service = Service.start(state, *OPTIONS)
    if rng.random() < 0.2:
        service.pass_time(rng.uniform(0.2, 1.2))
        service.kill()
        return publishers
    service.wait_ready()
    check_declared(story, service)
    running = [publisher.go(service) for publisher in publishers]
    operator = Operator(story, service, rng)
    operator.start()
    service.pass_time(rng.uniform(0.05, 0.8))
    service.kill()
    for thread in (*running, operator):
        thread.join(30)
        if thread.error is not None:
            raise thread.error
    faults = [line for line in service.lines if line.get("level") == "error"]
    assert not faults, faults[:3]
    return running


def check_declared(story, service):
    """What was last acknowledged is in force."""
    client = service.client()
    assert client.get("/v1/workers/idle")["desiredState"] in story.states
    code = client.get("/v1/workers/work/code").decode()
    number = int(code.split("# version ")[1].split()[0])
    assert number in story.versions, (number, story.versions)
    if service.sidecar is None:  # else one that was asked for may still come from the registry
        story.versions = {number}
    client.close()


def finish(story, service, publishers):
    """Send what was not acknowledged, wait until all is handled."""
    client = service.client()
    for publisher in publishers:
        if publisher.pending:
            publisher._publish(client)  # its last words
    wait_for_ids(client, "work", set(story.accepted))  # beside a sidecar they are on their way
    for name in ("work", "next"):
        path = f"/v1/workers/{name}"
        until(lambda: not client.get(path)["status"]["backlog"], timeout_s=60, what=path)  # noqa: B023
    return client


def wait_for_ids(client, worker, wanted):
    """Wait until *worker* has tasks of all these events."""

    def came():
        return {task["eventId"] for task in client.all("/v1/tasks", worker=worker)} >= wanted

    until(came, timeout_s=90, every_s=0.5, what=f"{len(wanted)} events come to {worker}")


def check(story, client):
    """Count; returns figures for people."""
    work = client.all("/v1/tasks", worker="work")
    rows = Counter(task["eventId"] for task in work)
    assert not {name: n for name, n in rows.items() if n != 1}, "more than one outcome"
    assert set(rows) == set(story.accepted), set(rows) ^ set(story.accepted)
    for task in work:
        kind = story.accepted[task["eventId"]]
        assert task["status"] == ENDS.get(kind, "COMPLETED"), task
        assert task["attempt"] == ATTEMPTS.get(kind, 1), task
        assert task["crashes"] == 0, task
    letters = Counter(item["event"]["id"] for item in client.all("/v1/deadLetters", worker="work"))
    assert letters == Counter(name for name, kind in story.accepted.items() if kind == "bad")
    uid = uuid.UUID(client.get("/v1/workers/work")["uid"])
    expected = {
        str(uuid.uuid5(uid, f"/tests\n{name}\n{index}"))
        for name, kind in story.accepted.items()
        for index in range(OUTPUTS.get(kind, 0))
    }
    wait_for_ids(client, "next", expected)
    outputs = Counter(task["eventId"] for task in client.all("/v1/tasks", worker="next"))
    assert set(outputs) == expected, len(set(outputs) ^ expected)
    return {
        "events": len(rows),
        "outputs": len(expected),
        "outputs_twice": sum(n - 1 for n in outputs.values()),
        "calls_lost": story.calls_lost,
        "swaps": story.next_version - 1,
    }


def play(state, *, rounds, seed, tell=lambda _: None):
    """Run the whole story in the folder *state*; returns its figures."""
    rng = random.Random(seed)
    story = Story(seed)
    with serving(state, *OPTIONS) as service:
        declare(service)
    publishers = [Publisher(story, number) for number in range(PUBLISHERS)]
    for number in range(rounds):
        publishers = play_round(story, state, publishers, rng)
        tell(f"round {number + 1}: {len(story.accepted)} events accepted")
    began = time.monotonic()
    with serving(state, *OPTIONS) as service:
        check_declared(story, service)
        recovered = service.wait_line("recovered")
        client = finish(story, service, publishers)
        figures = check(story, client)
        client.close()
    figures["last_recovery_ms"] = recovered["took_ms"]
    figures["last_round_s"] = round(time.monotonic() - began, 1)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backend", choices=("embedded", "dapr"), default="embedded")
    given = parser.parse_args()
    SIDECARS.is_on = given.backend == "dapr"
    with tempfile.TemporaryDirectory(prefix="kill-nine-") as folder:
        figures = play(Path(folder), rounds=given.rounds, seed=given.seed, tell=print)
    SIDECARS.close()
    print(f"{given.rounds} kills, seed {given.seed}: {figures}")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, ProblemError) as error:
        sys.exit(f"FAILED: {error}")
