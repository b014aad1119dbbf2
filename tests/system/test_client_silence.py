"""A watch whose service falls silent: the network is gone, nothing is closed, nothing arrives."""

import asyncio
import contextlib
import socket
import threading
from urllib.parse import urlsplit

import anyio
import pytest
import trio
from system_harness import base64_of, serving

from workmanager.client import AsyncWorkManagerClient, WorkManagerClient, grpc_link

pytestmark = pytest.mark.slow

LIMIT_S = 30
SILENCE_S = 1.0  # instead of a minute
PINGS = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms")
ECHO = "def process(event):\n    return event.data\n"


class Wire:
    """A wire to a service that can be cut so that neither end learns of it."""

    def __init__(self, url):
        parts = urlsplit(url)
        self._behind = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{parts.scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets, self._ways, self._alive = [], [], []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def cut(self):
        """What is open goes on without a word; new connections work."""
        for alive in self._alive:
            alive.clear()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for way in self._ways:
            way.join()
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._behind)
                alive = threading.Event()
                alive.set()
                self._alive.append(alive)
                self._sockets += [near, far]
                for ends in ((near, far), (far, near)):
                    way = threading.Thread(target=self._carry, args=(*ends, alive))
                    self._ways.append(way)
                    way.start()

    def _carry(self, source, sink, alive):
        with contextlib.suppress(OSError):
            while raw := source.recv(65536):
                if alive.is_set():
                    sink.sendall(raw)


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    options = ("--set", "grpc_bind=127.0.0.1:0", "--socket", "none")
    with serving(tmp_path_factory.mktemp("state"), *options) as service:
        urls = service.wait_line("serving")["urls"]
        yield {url.partition(":")[0]: url for url in urls}


@pytest.fixture(params=["http", "grpc"])
def wire(request, doors, monkeypatch):
    """A wire to one door, for clients that soon find a silence long."""
    for module in ("streams", "websocket"):
        monkeypatch.setattr(f"workmanager.client.{module}.SILENCE_S", SILENCE_S)
    soon = dict.fromkeys((*PINGS, "grpc.http2.ping_timeout_ms"), 500)
    options = tuple((name, soon.get(name, value)) for name, value in grpc_link.OPTIONS)
    monkeypatch.setattr(grpc_link, "OPTIONS", options)
    made = Wire(doors[request.param])
    made.direct = doors[request.param]
    yield made
    made.close()


def create(wire, name):
    with WorkManagerClient(wire.direct) as direct:
        direct.create_worker({"metadata": {"name": name}, "spec": {"code": {
            "content": base64_of(ECHO)}}})  # fmt: skip


def test_a_watch_goes_on_over_a_new_connection(wire, request):
    name = f"sync-{request.node.callspec.id}"
    with WorkManagerClient(wire.url) as client, client.watch() as changes:
        while next(changes).type != "BOOKMARK":
            pass
        wire.cut()
        create(wire, name)
        found = next(c for c in changes if c.worker is not None and c.worker.name == name)
        assert found.type == "ADDED"


@pytest.mark.parametrize("run", [trio.run, asyncio.run])
def test_so_does_that_of_an_asynchronous_client(wire, run, request):
    name = f"async-{request.node.callspec.id.replace('.', '-')}"

    async def scenario():
        with anyio.fail_after(LIMIT_S):
            async with AsyncWorkManagerClient(wire.url) as client, client.watch() as changes:
                while (await anext(changes)).type != "BOOKMARK":
                    pass
                wire.cut()
                await anyio.to_thread.run_sync(create, wire, name)
                async for change in changes:
                    if change.worker is not None and change.worker.name == name:
                        return change.type
        return None

    assert run(scenario() if run is asyncio.run else scenario) == "ADDED"
