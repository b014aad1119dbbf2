"""Start a Dapr sidecar for a test: the fake one, or a real daprd when DAPRD names one.

with fake_sidecar("app") as sidecar: sidecar.grpc_port ...
with redis_server(folder) as redis, real_sidecar("app", folder, redis_port=redis) as sidecar: ...
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
DAPRD = os.environ.get("DAPRD", "")
START_S = 30.0

# Of pubsub.redis, as docs/examples/dapr has it; there is why.
SETTINGS = {"processingTimeout": "10000", "redeliverInterval": "2000", "readTimeout": "1s"}
SETTINGS |= {"poolSize": "500", "concurrency": "100", "queueDepth": "200"}
# For tests of what the broker does by itself: Dapr's slots, redelivery soon.
PLAIN = {"processingTimeout": "1000", "redeliverInterval": "200", "readTimeout": "500ms"}
PLAIN |= {"concurrency": "10", "queueDepth": "100"}
COMPONENT = """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: {name}
spec:
  type: {kind}
  version: v1
  metadata:
{metadata}
"""


@dataclass(slots=True)
class Place:
    """A sidecar that runs, and how to kill it and start it again on the same ports."""

    app_id: str
    grpc_port: int
    http_port: int

    def kill(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    @property
    def environment(self) -> dict[str, str]:
        """What `dapr run` gives the app."""
        return {
            "APP_ID": self.app_id,
            "DAPR_GRPC_PORT": str(self.grpc_port),
            "DAPR_HTTP_PORT": str(self.http_port),
        }


@dataclass(slots=True)
class FakePlace(Place):
    """A sidecar of the fake's process, with its control door."""

    name: str = "0"
    control_port: int = 0

    def kill(self) -> None:
        self.control("POST", f"/sidecars/{self.name}/stop")

    def start(self) -> None:
        self.control("POST", f"/sidecars/{self.name}/start")

    def told(self) -> dict[str, Any]:
        return self.control("GET", f"/sidecars/{self.name}")

    def fault(self, method: str, **what: Any) -> None:
        self.control("POST", "/faults", {"method": method, **what})

    def heal(self) -> None:
        self.control("DELETE", "/faults")

    def another(self, app_id: str = "") -> FakePlace:
        """Start one more sidecar over the same Redis; of the same app-id unless said."""
        told = self.control("POST", "/sidecars", {"app_id": app_id or self.app_id})
        return FakePlace(
            told["app_id"], told["grpc_port"], told["http_port"], told["name"], self.control_port
        )

    def control(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=30)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 400:
                raise AssertionError(f"{method} {path}: {answer.status} {text!r}")
            return json.loads(text) if text else None
        finally:
            connection.close()


@dataclass(slots=True)
class RealPlace(Place):
    """A daprd of its own process."""

    command: list[str] = field(default_factory=list)
    log: Path = Path(os.devnull)
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environ
            )
        self._wait()

    def _wait(self) -> None:
        assert self.process is not None
        for _ in patience(START_S):
            if self.process.poll() is not None:
                raise AssertionError(f"daprd ended:\n{self.log.read_text()[-4000:]}")
            with contextlib.suppress(OSError):
                if _status(self.http_port, "/v1.0/healthz/outbound") == http.HTTPStatus.NO_CONTENT:
                    return
        raise AssertionError(f"daprd is not ready:\n{self.log.read_text()[-4000:]}")


@contextlib.contextmanager
def fake_sidecar(app_id: str, *options: str) -> Iterator[FakePlace]:
    """Run the fake sidecar; *options* are those of its command line."""
    command = [sys.executable, str(HERE / "fake_sidecar.py"), "--app-id", app_id, "--until-eof"]
    with subprocess.Popen(
        [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            told = json.loads(process.stdout.readline())
            yield FakePlace(
                app_id, told["grpc_port"], told["http_port"], told["name"], told["control_port"]
            )
        finally:
            process.kill()


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """Run a Redis of the test's own; yield its port."""
    binary = shutil.which("redis-server")
    assert binary, "redis-server is not installed"
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir"]
    with subprocess.Popen(
        [*command, str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        try:
            for _ in patience(START_S):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
            yield port
        finally:
            process.kill()


@contextlib.contextmanager
def real_sidecar(
    app_id: str, folder: Path, *options: str, redis_port: int | None, **pubsub: str
) -> Iterator[RealPlace]:
    """Run daprd over Redis at *redis_port*, or in-memory; *pubsub* is that component's metadata."""
    resources = folder / "resources"
    if not resources.exists():
        write_components(resources, redis_port=redis_port, **pubsub)
    place = _real_place(app_id, folder, resources, options)
    place.start()
    try:
        yield place
    finally:
        if place.process is not None and place.process.poll() is None:
            place.kill()


def write_components(folder: Path, *, redis_port: int | None, **pubsub: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if redis_port is None:
        kinds = {"pubsub": "pubsub.in-memory", "statestore": "state.in-memory"}
        shared: dict[str, str] = {}
    else:
        pubsub = SETTINGS | pubsub
        kinds = {
            "pubsub": "pubsub.redis",
            "statestore": "state.redis",
            "lockstore": "lock.redis",
        }
        shared = {"redisHost": f"127.0.0.1:{redis_port}"}
    for name, kind in kinds.items():
        metadata = {**shared, **(pubsub if name == "pubsub" else {})}
        lines = [f'  - name: {key}\n    value: "{value}"' for key, value in metadata.items()]
        text = COMPONENT.format(name=name, kind=kind, metadata="\n".join(lines))
        (folder / f"{name}.yaml").write_text(text if lines else text.replace("  metadata:\n", ""))


def patience(seconds: float) -> Iterator[None]:
    """Yield until *seconds* have passed, a little apart: for what another process must say."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _real_place(app_id: str, folder: Path, resources: Path, options: tuple[str, ...]) -> RealPlace:
    grpc_port, http_port = free_port(), free_port()
    command = [DAPRD, "--app-id", app_id, "--resources-path", str(resources)]
    command += ["--dapr-grpc-port", str(grpc_port), "--dapr-http-port", str(http_port)]
    command += ["--dapr-internal-grpc-port", str(free_port()), "--enable-metrics=false"]
    command += ["--dapr-listen-addresses", "127.0.0.1", "--log-level", "info", *options]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    log = folder / f"daprd-{grpc_port}.log"
    return RealPlace(app_id, grpc_port, http_port, command, log, environ)


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
