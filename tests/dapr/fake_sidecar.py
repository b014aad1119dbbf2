"""A Dapr sidecar for tests, as a process of its own: gRPC, health, and a control door.

    python tests/dapr/fake_sidecar.py --app-id X [--flavor redis|memory] [--grpc-port 0] ...

Prints one line of JSON with its ports. One process may be several sidecars over the same Redis
(`POST /sidecars {"app_id": "X"}` at the control door): two hosts of one app-id, or two apps.

Control door (JSON over HTTP; NAME is the sidecar's, "0" for the first):
    POST /sidecars {app_id}               another sidecar; answers its name and ports
    POST /sidecars/NAME/stop | start      as if daprd was killed and started again, same ports
    GET  /sidecars/NAME                   calls, deliveries, answers by id, subscriptions, ...
    POST /faults {method, kind, ...}      fake_faults.Fault;  DELETE /faults takes all away
    POST /streams {do, code?, topic?, sidecar?}   do: drop (with code), forget (deaf), pause, resume
    POST /duplicate {pubsub, times}       the next deliveries come twice
    POST /raw {pubsub, topic, data}       a message put into the broker behind Dapr's back
    GET  /topics                          what lies in every topic;  GET /state;  GET /locks
    POST /locks/expire                    every lock runs out now
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import grpc
from dapr.proto.runtime.v1.dapr_pb2_grpc import add_DaprServicer_to_server
from fake_broker import MemoryComponent, RedisComponent, Settings, Streams
from fake_control import serve_http
from fake_faults import Fault, Faults, Record
from fake_servicer import Door, Sidecar, Stores
from fake_store import Locks, MemoryState, RedisState
from fake_subscription import Inbound

MESSAGE_MAX_BYTES = 4 << 20  # --max-body-size of daprd


@dataclass(slots=True)
class Options:
    """What the command line says of every sidecar of this process."""

    flavor: str
    pubsubs: list[str]
    states: list[str]
    locks: list[str]
    settings: Settings
    inbound: Inbound
    token: str
    certificate: tuple[bytes, bytes] | None
    key_prefix: str


@dataclass(slots=True)
class Redis:
    """What all sidecars share."""

    streams: Streams = field(default_factory=Streams)
    states: dict[str, RedisState] = field(default_factory=dict)
    locks: dict[str, Locks] = field(default_factory=dict)


@dataclass(slots=True)
class Place:
    """One sidecar that can be stopped and started on its ports."""

    app_id: str
    options: Options
    redis: Redis
    faults: Faults
    grpc_port: int = 0
    http_port: int = 0
    record: Record = field(default_factory=Record)
    sidecar: Sidecar | None = None
    _server: grpc.aio.Server | None = None
    _http: asyncio.Server | None = None

    async def start(self) -> None:
        self.sidecar = Sidecar(
            self.app_id,
            self._stores(),
            self.faults,
            self.record,
            self.options.inbound,
            self.options.key_prefix or self.app_id,
        )
        self._server = grpc.aio.server(
            interceptors=[Door(self.sidecar, self.options.token)],
            options=[
                ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
                ("grpc.so_reuseport", 0),
            ],
        )
        add_DaprServicer_to_server(self.sidecar, self._server)
        self.grpc_port = self._bind(self._server)
        await self._server.start()
        self._http = await serve_http(self._health, self.http_port)
        self.http_port = self._http.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        sidecar, self.sidecar = self.sidecar, None
        if sidecar is None or self._server is None or self._http is None:
            return
        self._http.close()
        for subscription in list(sidecar.subscriptions):
            subscription.close(with_sidecar=True)
        await self._server.stop(grace=0)
        for component in sidecar.stores.pubsubs.values():
            component.close()

    def told(self) -> dict[str, Any]:
        subscriptions = self.sidecar.subscriptions if self.sidecar else []
        return {
            "app_id": self.app_id,
            "grpc_port": self.grpc_port,
            "http_port": self.http_port,
            "is_up": self.sidecar is not None,
            "subscriptions": [[s.asked.pubsub_name, s.asked.topic] for s in subscriptions],
            **{item.name: getattr(self.record, item.name) for item in fields(self.record)},
        }

    def _bind(self, server: grpc.aio.Server) -> int:
        address = f"127.0.0.1:{self.grpc_port}"
        if self.options.certificate is None:
            return server.add_insecure_port(address)
        credentials = grpc.ssl_server_credentials([self.options.certificate])
        return server.add_secure_port(address, credentials)

    def _stores(self) -> Stores:
        options, redis = self.options, self.redis
        if options.flavor == "memory":
            return Stores(
                {name: MemoryComponent(name) for name in options.pubsubs},
                {name: MemoryState() for name in options.states},
                {},
            )
        return Stores(
            {
                name: RedisComponent(
                    name, redis.streams, settings=options.settings, consumer=self.app_id
                )
                for name in options.pubsubs
            },
            {name: redis.states.setdefault(name, RedisState()) for name in options.states},
            {name: redis.locks.setdefault(name, Locks()) for name in options.locks},
        )

    async def _health(self, method: str, path: str, _: Any) -> tuple[int, Any]:
        is_known = path in ("/v1.0/healthz", "/v1.0/healthz/outbound")
        return (204, None) if method == "GET" and is_known else (404, {"error": path})


class Control:
    """The control door."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.redis = Redis()
        self.faults = Faults()
        self.places: dict[str, Place] = {}

    async def add(self, app_id: str, grpc_port: int = 0, http_port: int = 0) -> str:
        place = Place(app_id, self.options, self.redis, self.faults, grpc_port, http_port)
        await place.start()
        name = str(len(self.places))
        self.places[name] = place
        return name

    async def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        match method, path.strip("/").split("/"):
            case "POST", ["sidecars"]:
                name = await self.add(body["app_id"], body.get("grpc_port", 0))
                return 200, {"name": name, **self.places[name].told()}
            case "POST", ["sidecars", name, "stop"]:
                await self.places[name].stop()
            case "POST", ["sidecars", name, "start"]:
                await self.places[name].start()
            case "GET", ["sidecars", name]:
                return 200, self.places[name].told()
            case "POST", ["faults"]:
                self.faults.active.append(Fault(**body))
            case "DELETE", ["faults"]:
                self.faults.active.clear()
            case "POST", ["streams"]:
                return 200, {"streams": self._streams(**body)}
            case "POST", ["duplicate"]:
                for component in self._components(body["pubsub"]):
                    component.duplicates += body["times"]
            case "POST", ["raw"]:
                stream = self.redis.streams.stream(body["pubsub"], body["topic"])
                stream.add(body["data"].encode(), {})
            case "POST", ["locks", "expire"]:
                for locks in self.redis.locks.values():
                    locks.held.clear()
            case "GET", ["topics"]:
                return 200, self._topics()
            case "GET", ["state"]:
                return 200, self._state()
            case "GET", ["locks"]:
                return 200, {
                    resource: locks.owner(resource)
                    for locks in self.redis.locks.values()
                    for resource in list(locks.held)
                    if locks.owner(resource)
                }
            case _:
                return 404, {"error": path}
        return 204, None

    def _streams(
        self, do: str, code: str = "UNAVAILABLE", topic: str = "", sidecar: str = ""
    ) -> int:
        if do in ("pause", "resume"):
            for component in self._components():
                component.is_flowing.clear() if do == "pause" else component.is_flowing.set()
            return 0
        count = 0
        for name, place in self.places.items():
            if place.sidecar is None or sidecar not in ("", name):
                continue
            for subscription in list(place.sidecar.subscriptions):
                if topic in ("", subscription.asked.topic):
                    count += 1
                    if do == "drop":
                        subscription.dropped.set_result(code)
                    else:
                        subscription.forget()
                        place.sidecar.subscriptions.remove(subscription)
        return count

    def _components(self, pubsub: str = "") -> list[RedisComponent | MemoryComponent]:
        return [
            component
            for place in self.places.values()
            if place.sidecar
            for name, component in place.sidecar.stores.pubsubs.items()
            if pubsub in ("", name)
        ]

    def _topics(self) -> dict[str, Any]:
        return {
            f"{pubsub}/{topic}": {
                "messages": [m.data.decode("utf-8", "replace") for m in stream.messages],
                "pending": {name: len(group.pending) for name, group in stream.groups.items()},
                "unread": {
                    name: len(stream.messages) - group.position
                    for name, group in stream.groups.items()
                },
            }
            for (pubsub, topic), stream in self.redis.streams.by_topic.items()
        }

    def _state(self) -> dict[str, Any]:
        return {
            key: record.data.decode("utf-8", "replace")
            for store in self.redis.states.values()
            for key, record in store.records.items()
        }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--app-id", required=True)
    parser.add_argument("--flavor", choices=("redis", "memory"), default="redis")
    parser.add_argument("--grpc-port", type=int, default=0)
    parser.add_argument("--http-port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--pubsubs", default="pubsub", help="names, with commas; empty: none")
    parser.add_argument("--states", default="statestore")
    parser.add_argument("--locks", default="lockstore")
    parser.add_argument("--key-prefix", default="", help="of states and locks; empty: the app-id")
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--queue-depth", type=int, default=100)
    parser.add_argument("--processing-timeout", type=float, default=60.0)
    parser.add_argument("--redeliver-interval", type=float, default=15.0)
    parser.add_argument("--shuffle", action="store_true", help="deliver in any order, as daprd may")
    parser.add_argument("--inbound-retries", type=int, default=0)
    parser.add_argument("--inbound-interval", type=float, default=0.5)
    parser.add_argument("--api-token", default="")
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--tls-certificate", type=Path)
    parser.add_argument("--until-eof", action="store_true", help="end when stdin is closed")
    return parser.parse_args()


async def main() -> None:
    given = _options()
    certificate = None
    if given.tls_key and given.tls_certificate:
        certificate = (given.tls_key.read_bytes(), given.tls_certificate.read_bytes())
    control = Control(
        Options(
            flavor=given.flavor,
            pubsubs=[name for name in given.pubsubs.split(",") if name],
            states=[name for name in given.states.split(",") if name],
            locks=[name for name in given.locks.split(",") if name],
            settings=Settings(
                given.concurrency,
                given.queue_depth,
                given.processing_timeout,
                given.redeliver_interval,
                given.shuffle,
            ),
            inbound=Inbound(given.inbound_retries, given.inbound_interval),
            token=given.api_token,
            certificate=certificate,
            key_prefix=given.key_prefix,
        )
    )
    name = await control.add(given.app_id, given.grpc_port, given.http_port)
    door = await serve_http(control.answer, given.control_port)
    ports = {"control_port": door.sockets[0].getsockname()[1], "pid": os.getpid()}
    print(json.dumps({"name": name, **control.places[name].told(), **ports}), flush=True)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if given.until_eof:
        loop.add_reader(sys.stdin, _until_eof, stopped)
    await stopped.wait()
    for place in control.places.values():
        with contextlib.suppress(Exception):
            await place.stop()


def _until_eof(stopped: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stopped.set()


if __name__ == "__main__":
    asyncio.run(main())
