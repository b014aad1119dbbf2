"""One real service per test module, called over its Unix socket and over TCP with its token."""

import base64
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

LIMIT_S = 30
START_S = 60  # a busy machine takes long to start a process
ECHO = 'def process(event):\n    print("seen", event.id)\n    return {"echo": event.data}\n'
FAIL = 'def process(event):\n    raise ValueError("no")\n'


@dataclass
class Rest:
    """A running service."""

    process: subprocess.Popen
    state: Path
    url: str
    client: httpx2.Client

    @property
    def token(self):
        return (self.state / "token").read_text().strip()

    def call(self, method, path, *, status=200, **options):
        """Call and return the JSON answer; its status must be *status*."""
        answer = self.client.request(method, path, **options)
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
        return answer.json() if answer.content else {}

    def refusal(self, method, path, *, status, reason, **options):
        """Call and return the problem; it must have *status* and *reason*."""
        problem = self.call(method, path, status=status, **options)
        assert problem["reason"] == reason, problem
        assert problem["status"] == status
        return problem

    def create(self, code=ECHO, **spec):
        """Create and start a worker with *code*; returns its name."""
        body = manifest(f"w-{uuid.uuid4().hex[:8]}", code, **spec)
        return self.call("POST", "/v1/workers", status=201, json=body)["name"]

    def until(self, ask, *, holds=bool):
        """Ask until the answer holds, for a bounded time; returns it."""
        ends_at = time.monotonic() + LIMIT_S
        while not holds(answer := ask()):
            assert time.monotonic() < ends_at, answer
        return answer

    def finish(self, operation_id):
        """Wait for an operation and return it."""
        return self.until(
            lambda: self.call("GET", f"/v1/operations/{operation_id}"),
            holds=lambda operation: operation["done"],
        )

    def invoke(self, worker, data=1, *, status=200, **query):
        """Invoke a worker with one event."""
        return self.call(
            "POST",
            f"/v1/workers/{worker}:invoke",
            status=status,
            params=query,
            json=event(data=data),
            headers={"content-type": "application/cloudevents+json"},
        )


def manifest(name, code=ECHO, **spec):
    """Make a manifest."""
    content = base64.b64encode(code.encode()).decode()
    return {"metadata": {"name": name}, "spec": {"code": {"content": content}, **spec}}


def event(**members):
    """Make an event."""
    return {"specversion": "1.0", "id": uuid.uuid4().hex, "source": "/test", "type": "t", **members}


@contextmanager
def serving(state, *options):
    """Start the service; leave when it has ended in good order."""
    words = [sys.executable, "-m", "workmanager.cli", "serve", "--bind", "127.0.0.1:0"]
    words += ["--set", "grpc_bind=none", "--state", str(state), "--log-format", "json", *options]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        urls, lines, ready = [], [], threading.Event()

        def read():
            for line in process.stderr:
                lines.append(line)
                if '"event": "serving"' in line:
                    urls.extend(json.loads(line)["urls"])
                    ready.set()
            ready.set()  # it has ended: there is nothing to wait for

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert ready.wait(START_S), "the service did not start in time"
            assert urls, "".join(lines)
            transport = httpx2.HTTPTransport(uds=str(state / "workmanager.sock"))
            with httpx2.Client(
                transport=transport, base_url="http://wm", timeout=LIMIT_S
            ) as client:
                yield Rest(process, Path(state), urls[0], client)
            assert process.poll() in (None, 0), "".join(lines)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(LIMIT_S)
            finally:
                process.kill()
                reader.join()
    assert not [line for line in lines if "request_failed" in line or "Traceback" in line], lines
    assert process.returncode == 0


@pytest.fixture(scope="module")
def rest(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("rest") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def make():
    """Hand out the builders: test modules cannot import a conftest (importlib mode)."""

    class Make:
        manifest = staticmethod(manifest)
        event = staticmethod(event)
        serving = staticmethod(serving)
        ECHO = ECHO
        FAIL = FAIL

    return Make
