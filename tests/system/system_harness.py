"""The real service as a process of its own, and a small client to it.

Tests wait for what the service says: an answer, a line of its log, an invoke that ends. Where
nobody tells, they poll at the process border, with a deadline.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil

LEVEL = os.environ.get("TEST_SANDBOX_LEVEL", "auto")  # of the sandbox; see tests/conftest.py
DAPR = Path(__file__).parents[1] / "dapr"
START_S = 60
STOP_S = 30
ORPHAN_S = 1.0  # what the service left behind must be gone by then
FAULTS = ("state_not_allowed", "timer_failed", "request_failed", "operation_failed")
FAULTS += ("store_callback_failed", "commit_refused", "executor_unkillable")

# Limits of a uid count all its processes: two services at once must not share one.
UID_BASE = 1_900_000_000 + 65_536 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])

SINK = """
import asyncio, os

LEAN = bool(os.environ.get("LEAN"))
seen, waiting = [], []

async def process(event):
    if event.type == "sink.read":
        while len(seen) < event.data["count"]:
            waiting.append(asyncio.get_running_loop().create_future())
            await waiting[-1]
        start = event.data["start"]
        return {"records": seen[start:start + 2000], "count": len(seen)}
    seen.append(event.data if LEAN else {**event.attributes, "data": event.data})
    while waiting:
        future = waiting.pop()
        future.done() or future.set_result(None)
"""


def until(predicate, *, timeout_s=20.0, every_s=0.02, what=""):
    """Poll *predicate* until it gives something true; return that."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or predicate}: {value!r}")
        time.sleep(every_s)  # the process border: nobody there tells us


def base64_of(code):
    return base64.b64encode(textwrap.dedent(code).encode()).decode()


def manifest(name, code, *, topic="", output="", **spec):
    """Make a manifest; *spec* has the names of the wire, such as `rateLimit`."""
    spec.setdefault("code", {"content": base64_of(code)})
    if topic:
        spec.setdefault("triggers", [{"topic": topic}])
    if output:
        spec["outputs"] = {"topic": output, **spec.get("outputs", {})}
    return {"metadata": {"name": name}, "spec": spec}


def event(data=None, *, id, type="test.made", source="/tests", **attributes):  # noqa: A002
    """Make an event in the CloudEvents JSON format."""
    made = {"specversion": "1.0", "id": str(id), "type": type, "source": source, **attributes}
    return made if data is None else {**made, "data": data}


# -- the sidecar ---------------------------------------------------------------------------------


class Sidecars:
    """With `pytest --backend dapr`: one sidecar for each state folder, as long as the tests run.

    It stays when the service beside it is killed and started again, as it would.
    """

    def __init__(self):
        self.is_on = False
        # As docs/examples/dapr/redis/pubsub.yaml has it.
        self.options = ("--processing-timeout", "10", "--redeliver-interval", "2")
        self.options += ("--concurrency", "100", "--queue-depth", "200")
        self.options += ("--processing-timeout", "3", "--redeliver-interval", "0.5")
        self._stack = ExitStack()
        self._places = {}

    def beside(self, state):
        """Return the sidecar of a service with this state folder; None for the embedded broker."""
        if not self.is_on:
            return None
        if state not in self._places:
            self._places[state] = self._stack.enter_context(self._open(state))
        return self._places[state]

    def close(self):
        self._stack.close()

    def _open(self, state):
        sys.path.insert(0, str(DAPR))
        import sidecars

        if not sidecars.DAPRD:
            return sidecars.fake_sidecar("workmanager", *self.options)
        folder = Path(f"{state}-dapr")
        redis = self._stack.enter_context(sidecars.redis_server(folder / "redis"))
        return sidecars.real_sidecar("workmanager", folder, redis_port=redis)


SIDECARS = Sidecars()


# -- the process ---------------------------------------------------------------------------------


@dataclass
class Service:
    """A running service."""

    process: subprocess.Popen
    state: Path
    url: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)
    numbers: int = 0  # of names handed out to tests that share it
    sidecar: Any = None  # the Dapr sidecar beside it, if there is one
    _news: threading.Condition = field(default_factory=threading.Condition)
    _reader: threading.Thread | None = None
    _is_over: bool = False

    @classmethod
    def start(cls, state, *options, environ=None, user=None, dev=True, wrapper=(), fds=()):
        """Start it, by *wrapper* if there is one; returns at once, see `wait_ready`."""
        words = [*wrapper, sys.executable, "-m", "workmanager.cli", "serve", "--state", str(state)]
        words += ["--dev"] if dev else []
        words += ["--bind", "127.0.0.1:0", "--socket", "none", "--log-format", "json"]
        words += ["--set", "grpc_bind=none"]
        words += ["--set", "log_worker_lines=false"]
        words += ["--set", f"sandbox_level={LEVEL}"]
        words += ["--set", f"sandbox_uid_base={UID_BASE}"]
        words += ["--set", "restarts_per_minute=100000", *options]  # tests share a service
        ours = ("WORKMANAGER_", "DAPR_")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        sidecar = SIDECARS.beside(Path(state))
        clean |= sidecar.environment if sidecar is not None else {}
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=clean | (environ or {}),
            user=user,
            bufsize=0,
            pass_fds=fds,
        )
        service = cls(process, Path(state), sidecar=sidecar)
        service._reader = threading.Thread(target=service._read, daemon=True)
        service._reader.start()
        return service

    @property
    def pid(self):
        return self.process.pid

    def wait_ready(self):
        """Wait until it takes calls; raises AssertionError with its log if it ended."""
        line = self.wait_line("serving", timeout_s=START_S)
        self.url = line["urls"][0]
        return self

    def wait_line(self, name, *, timeout_s=15.0, since=0, **facts):
        """Wait for a line of its log with this event name and these facts."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                for line in self.lines[since:]:
                    if line.get("event") == name and facts.items() <= line.items():
                        return line
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self._is_over:
                    raise AssertionError(f"no {name!r} {facts} in its log: {self.lines[-20:]}")
                self._news.wait(left_s)

    def pass_time(self, seconds):
        """Let it run that long; it must not end by itself."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"it ended: {self.lines[-20:]}")

    def kill(self):
        """SIGKILL it; what it ran must be gone within a second."""
        family = self.family()
        self.process.kill()
        self._collect()
        check_gone(family)

    def stop(self):
        """SIGTERM it, wait for its end, and look at what it left."""
        family = self.family()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        finally:
            self.process.kill()
            self._collect()
        check_gone(family)
        assert self.process.returncode == 0, self.lines[-20:]
        self.check()

    def check(self, since=0):
        """Its log tells of no bug."""
        faults = [line for line in self.lines[since:] if is_fault(line)]
        assert not faults, json.dumps(faults[:5], indent=1)[:8000]

    def family(self):
        """Every process that descends from it."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def fds(self):
        return psutil.Process(self.pid).num_fds()

    def client(self):
        return Client(self.url)

    def _collect(self):
        self.process.wait(STOP_S)
        self._reader.join(STOP_S)
        self.process.stderr.close()

    def _read(self):
        stderr = os.fdopen(os.dup(self.process.stderr.fileno()), "rb")
        with stderr:
            for raw in stderr:
                try:
                    line = json.loads(raw)
                except ValueError:
                    line = {"event": "", "text": raw.decode("utf-8", "replace")}
                with self._news:
                    self.lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._is_over = True
            self._news.notify_all()


def is_fault(line):
    """Tell whether a line of the log shows a bug, and not a refusal."""
    return line.get("event") in FAULTS or "exception" in line or "Traceback" in str(line)


def check_gone(family):
    """None of these processes is left a second from now."""
    _, alive = psutil.wait_procs(family, timeout=ORPHAN_S)
    left = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not left, left


@contextmanager
def serving(state, *options, **more):
    """Run a service; leave when it has ended in good order."""
    service = Service.start(state, *options, **more)
    try:
        service.wait_ready()
        yield service
    except BaseException:
        service.process.kill()
        service._collect()
        raise
    service.stop()


# -- the client ----------------------------------------------------------------------------------


class ProblemError(AssertionError):
    """The service refused a call that the test expected to succeed, or the other way round."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {json.dumps(body)[:3000]}")
        self.status = status
        self.body = body


class Client:
    """One connection to the service; use one per thread."""

    def __init__(self, url):
        self.url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=90)
        self.headers = {}  # of the last answer

    def close(self):
        self._connection.close()

    def send(self, method, path, body=None, headers=None):
        """Send a request; returns the status and the raw body."""
        try:
            self._connection.request(method, path, body=body, headers=headers or {})
            answer = self._connection.getresponse()
            raw = answer.read()
        except BaseException:
            self._connection.close()
            raise
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, raw

    def call(self, method, path, body=None, *, expect=(200, 201, 202, 204), headers=None):
        """Call with a JSON body (bytes go as they are); returns the decoded answer."""
        headers = {"content-type": "application/json", **(headers or {})}
        raw_body = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        status, raw = self.send(method, path, raw_body, headers)
        answer = json.loads(raw) if raw and "json" in self.headers["content-type"] else raw
        wanted = expect if isinstance(expect, tuple) else (expect,)
        if status not in wanted:
            raise ProblemError(status, answer)
        return answer

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.call("POST", path, body, **more)

    def all(self, path, **query):
        """Every item of a list, page by page."""
        found, token = [], ""
        while True:
            page = {**query, "pageSize": 1000, **({"pageToken": token} if token else {})}
            answer = self.get(f"{path}?{urlencode(page)}")
            found += answer["items"]
            token = answer["nextPageToken"]
            if not token:
                return found

    def publish(self, topic, events, *, expect=200):
        """Publish events (of `event`) as one batch."""
        headers = {"content-type": "application/cloudevents-batch+json"}
        return self.post(f"/v1/topics/{topic}:publish", events, headers=headers, expect=expect)

    def finish(self, operation, *, timeout_s=20.0):
        """Wait for the end of an operation; returns it."""
        path = f"/v1/operations/{operation['id']}"

        def ended():
            seen = self.get(path)
            return seen if seen["done"] else None

        return until(ended, timeout_s=timeout_s, what=path)


# -- what a test uses ----------------------------------------------------------------------------


class Lab:
    """A corner of a shared service for one test: names of its own, gone when the test is over."""

    def __init__(self, service):
        self.service = service
        self.client = service.client()
        service.numbers += 1
        self.prefix = f"t{service.numbers}"
        self._log_start = len(service.lines)
        self._workers: list[Worker] = []

    def topic(self, name):
        return f"{self.prefix}.{name}"

    def name(self, name):
        return f"{self.prefix}-{name}"

    def worker(self, name, code, *, topic="", output="", start=True, **spec):
        """Create a worker; topic and output are names of this lab."""
        made = self.manifest(name, code, topic=topic, output=output, **spec)
        self.client.post("/v1/workers" + ("" if start else "?start=false"), made)
        self._workers.append(Worker(self, made["metadata"]["name"]))
        return self._workers[-1]

    def manifest(self, name, code, *, topic="", output="", **spec):
        topic, output = topic and self.topic(topic), output and self.topic(output)
        return manifest(self.name(name), code, topic=topic, output=output, **spec)

    def sink(self, topic="out", *, lean=False, **spec):
        """Create a worker that keeps what it gets (*lean*: the data alone) for the test to see."""
        window = 0 if self.service.sidecar is None else "1h"  # brokers deliver some events twice
        spec = {"concurrency": {"perExecutor": 256}, "dedupe": {"window": window}, **spec}
        spec["inbox"] = {"maxCount": 1_000_000}
        spec["env"] = {"LEAN": "1"} if lean else {}
        return Sink(self, self.worker(f"sink-{topic}", SINK, topic=topic, **spec).name)

    def publish(self, topic, events, *, arrive=True, **more):
        """Publish; with a sidecar, return when the events have come back to this service."""
        before = self._came(topic)
        answer = self.client.publish(self.topic(topic), events, **more)
        listens = before is not None or answer.get("deliveries")
        if self.service.sidecar is not None and arrive and listens and "accepted" in answer:
            goal = (before or 0) + answer["accepted"]
            until(lambda: self._came(topic, goal) >= goal, what=f"events on {topic} come back")
        return answer

    def _came(self, topic, paused=None):
        """How many events a topic's subscription has brought; *paused* where it is, or None."""
        if self.service.sidecar is None:
            return None
        checks = {c["name"]: c for c in self.client.get("/v1/health?verbose=true")["checks"]}
        found = checks.get(f"subscription/{self.topic(topic)}")
        if found is None or found["detail"].startswith("draining"):  # nobody wants it any more
            return paused and 0
        return paused if found["detail"].startswith("paused") else found["value"]

    def send(self, topic, *values, **attributes):
        """Publish one event for each of *values*, numbered from 0."""
        made = [event(value, id=i, **attributes) for i, value in enumerate(values)]
        return self.publish(topic, made)

    def close(self):
        """Delete the workers; the service must have no fault to tell of."""
        try:
            for worker in self._workers:
                self.client.call(
                    "DELETE", f"/v1/workers/{worker.name}?drain=false", expect=(202, 404)
                )
        finally:
            self.client.close()
        self.service.check(self._log_start)


@dataclass
class Worker:
    """A worker of a lab."""

    lab: Lab
    name: str

    @property
    def path(self):
        return f"/v1/workers/{self.name}"

    def get(self):
        return self.lab.client.get(self.path)

    def status(self):
        return self.get()["status"]

    def verb(self, verb, body=None, **more):
        return self.lab.client.post(f"{self.path}:{verb}", body, **more)

    def run(self, verb, body=None):
        """Call a verb that takes long and wait for its end."""
        done = self.lab.client.finish(self.verb(verb, body))
        assert done["error"] is None, done
        return done

    def apply(self, code, *, expect=200, **spec):
        made = self.lab.manifest("", code, **spec)
        made["metadata"]["name"] = self.name
        return self.lab.client.call("PUT", self.path, made, expect=expect)

    def patch(self, spec, *, expect=200):
        return self.lab.client.call("PATCH", self.path, {"spec": spec}, expect=expect)

    def invoke(self, data=None, *, expect=200, type="test.made", **query):  # noqa: A002
        body = event(data, id=os.urandom(8).hex(), type=type)
        path = f"{self.path}:invoke?{urlencode(query)}"
        headers = {"content-type": "application/cloudevents+json"}
        return self.lab.client.post(path, body, headers=headers, expect=expect)

    def put_code(self, code, *, expect=201):
        body = textwrap.dedent(code).encode()
        headers = {"content-type": "text/x-python"}
        return self.lab.client.call(
            "PUT", f"{self.path}/code", body, headers=headers, expect=expect
        )

    def executors(self):
        return self.lab.client.get(f"{self.path}/executors")["items"]

    def tasks(self, **query):
        return self.lab.client.all("/v1/tasks", worker=self.name, **query)

    def dead_letters(self, **query):
        return self.lab.client.all("/v1/deadLetters", worker=self.name, **query)

    def lines(self, **query):
        query = {"tail": 0, **query}
        return self.lab.client.get(f"{self.path}/logs?{urlencode(query)}")["items"]

    def texts(self):
        return [line["text"] for line in self.lines()]

    def until(self, predicate, *, timeout_s=20.0):
        """Wait until its status is as *predicate* wants it; returns the status."""
        last = {}

        def holds():
            last.update(self.status())
            return predicate(last)

        until(holds, timeout_s=timeout_s, what=last)
        return last

    def until_state(self, *states, timeout_s=20.0):
        return self.until(lambda status: status["state"] in states, timeout_s=timeout_s)

    def until_idle(self, *, timeout_s=20.0):
        return self.until(lambda status: not status["backlog"], timeout_s=timeout_s)


class Sink(Worker):
    """A worker that keeps what it gets in memory."""

    def take(self, count, *, timeout_s=30.0):
        """Wait until it has *count* events; returns all it has, in the order of their arrival."""
        records, total = [], 1
        while len(records) < total:
            page = self._read(count, len(records), timeout_s)
            records += page["records"]
            total = page["count"]
        return records

    def _read(self, count, start, timeout_s):
        asked = {"count": count, "start": start}
        try:
            answer = self.invoke(asked, type="sink.read", timeoutS=timeout_s)
        except ProblemError as error:
            if error.status != 504:
                raise
            got = self._read(0, 0, 10)["count"]
            raise AssertionError(f"{got} of {count} came within {timeout_s:g} s") from error
        return answer["outputs"][0]["data"]

    def data(self, count, **more):
        return [record["data"] for record in self.take(count, **more)]


class Load:
    """Publishes events at a rate from a thread of its own, for as long as the context lasts.

    Event n has the data {"n": n, "key": k}, the partition key k, and the id n.
    """

    CHUNK = 10  # events of one call

    def __init__(self, service, topic, *, rate=1000, keys=20):
        self.sent = 0  # acknowledged
        self._client = service.client()
        self._topic = topic
        self._gap_s = self.CHUNK / (rate if service.sidecar is None else min(rate, 150))
        self._keys = keys
        self._news = threading.Condition()
        self._over = threading.Event()
        self._error = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._client.close()
        if self._error is not None:
            raise self._error

    def pass_by(self, count):
        """Wait until that many more events have been published."""
        with self._news:
            goal = self.sent + count
            good = self._news.wait_for(lambda: self.sent >= goal or self._error, 30)
        assert good, f"only {self.sent} of {goal} events were published"

    def _run(self):
        try:
            due = time.monotonic()
            while not self._over.wait(max(0.0, due - time.monotonic())):
                due += self._gap_s
                self._client.publish(self._topic, [self._event(i) for i in range(self.CHUNK)])
                with self._news:
                    self.sent += self.CHUNK
                    self._news.notify_all()
        except Exception as error:  # noqa: BLE001 - raised again where the test is
            self._error = error

    def _event(self, index):
        n = self.sent + index
        key = f"k{n % self._keys}"
        return event({"n": n, "key": key}, id=n, partitionkey=key)
