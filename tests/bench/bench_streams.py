"""What looking on costs: many streams beside calls and events; traces, also to a dead collector.

    python tests/bench/bench_streams.py [--seconds 5] [--events 20000] [--json FILE]

Each figure is set beside the same without, measured in the same run: quote ratios, not times. Those
who follow (200 watches, 50 tails, over WebSocket, server-sent events and gRPC) read in a process of
their own, at the lowest priority, but on the same machine: on two cores part of what they cost is
their own reading.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_service import apply, completed, cpu_s, publish
from system_harness import Client, Service, event

RATE = 1000  # events a second
BATCH = 10
WORKERS = {"sockets": 80, "events": 70, "grpc": 50, "tails": 25, "grpc_tails": 25}
TASKS = {"tasks": 20}  # each is told of every event, twice or so
SEEN = """
import time
times = []
def process(event):
    global times
    if event.type == "read":
        seen, times = sorted(times) or [0.0], []
        return {"p50": seen[len(seen) // 2], "p99": seen[len(seen) * 99 // 100], "n": len(seen)}
    times.append((time.monotonic_ns() - event.data["sent"]) / 1e6)
    print(event.id)
"""
NO_OP = "def process(event):\n    return None\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each phase")
    parser.add_argument("--events", type=int, default=20_000, help="of each run with traces")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--only", choices=("streams", "traces"))
    parser.add_argument("--follow", nargs=3, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.follow:
        follow(*options.follow)
        return
    with tempfile.TemporaryDirectory(prefix="wm-bench-") as folder:
        figures = {}
        if options.only != "traces":
            figures["streams"] = streams(Path(folder) / "streams", options.seconds)
        if options.only != "streams":
            figures["traces"] = traces(Path(folder), options.events)
    if "streams" in figures:
        show_streams(figures["streams"])
    if "traces" in figures:
        show_traces(figures["traces"])
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


# -- streams -------------------------------------------------------------------------------------


def streams(state, seconds):
    service = Service.start(state, "--set", "grpc_bind=127.0.0.1:0").wait_ready()
    try:
        urls = service.wait_line("serving")["urls"]
        grpc_url = next(url for url in urls if url.startswith("grpc://"))
        client = service.client()
        apply(client, "flow", SEEN, "flow")
        phases = {}
        with flowing(service.url):
            look(service, client, seconds / 2)  # to get warm
            phases["before"] = look(service, client, seconds)
            rss = psutil.Process(service.pid).memory_info().rss
            with following(service.url, grpc_url, WORKERS) as ended:
                look(service, client, seconds / 2)
                phases["200 watches, 50 tails"] = look(service, client, seconds)
            with following(service.url, grpc_url, TASKS) as more:
                look(service, client, seconds / 2)
                phases["20 watches of tasks"] = look(service, client, seconds)
                grown = psutil.Process(service.pid).memory_info().rss - rss
            phases["after"] = look(service, client, seconds)
        client.close()
    finally:
        service.stop()
    quiet = {k: (phases["before"][k] + phases["after"][k]) / 2 for k in phases["before"]}
    return {
        "phases": phases,
        "ratios": {
            name: {k: round(row[k] / quiet[k], 2) for k in quiet if k != "events"}
            for name, row in phases.items()
        },
        "memory_mib_more": round(grown / 2**20, 1),
        "heard_mib": ended["heard_mib"] | more["heard_mib"],
        "ended_early": ended["ended_early"] | more["ended_early"],
    }


@contextmanager
def flowing(url):
    """Publish 1,000 events a second."""
    done = threading.Event()

    def flow():
        client, number, due = Client(url), 0, time.monotonic()
        while not done.is_set():
            now = time.monotonic_ns()
            made = [event({"sent": now}, id=number + n) for n in range(BATCH)]
            client.publish("flow", made)
            number += BATCH
            due += BATCH / RATE
            done.wait(max(0.0, due - time.monotonic()))
        client.close()

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def look(service, client, seconds):
    """Ask for a worker a hundred times a second; return times in ms, also those of events."""
    read(client)
    used = cpu_s(service)
    times, ends_at = [], time.monotonic() + seconds
    while time.monotonic() < ends_at:
        began = time.perf_counter()
        client.get("/v1/workers/flow")
        times.append((time.perf_counter() - began) * 1e3)
        time.sleep(0.01)  # the rate is what is measured
    times.sort()
    seen = read(client)
    return {
        "call_p50": round(times[len(times) // 2], 2),
        "call_p99": round(times[len(times) * 99 // 100], 2),
        "event_p50": round(seen["p50"], 2),
        "event_p99": round(seen["p99"], 2),
        "cpu_percent": round((cpu_s(service) - used) / seconds * 100),
        "events": seen["n"],
    }


def read(client):
    headers = {"content-type": "application/cloudevents+json"}
    asked = event({}, id="read", type="read")
    return client.post("/v1/workers/flow:invoke", asked, headers=headers)["outputs"][0]["data"]


@contextmanager
def following(url, grpc_url, kinds):
    """Let so many of each kind follow; yields what is known at the end."""
    words = [sys.executable, __file__, "--follow", url, grpc_url, json.dumps(kinds)]
    told = {}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield told
        process.stdin.close()
        told.update(json.loads(process.stdout.readline()))


def follow(url, grpc_url, kinds):
    """Read streams until stdin ends; say how much came and how many ended before."""
    os.nice(19)  # real ones read elsewhere: they take no processor from the service
    poll, heard, ended = selectors.DefaultSelector(), Counter(), Counter()
    for kind, count in json.loads(kinds).items():
        for _ in range(count):
            if kind.startswith("grpc"):
                follow_grpc(grpc_url, kind, heard, ended)
            else:
                poll.register(opened(url, kind), selectors.EVENT_READ, kind)
    poll.register(sys.stdin, selectors.EVENT_READ, "end")
    print("ready", flush=True)
    while True:
        for key, _ in poll.select():
            if key.data == "end":
                answer = {"heard_mib": {k: round(n / 2**20, 2) for k, n in heard.items()}}
                print(json.dumps({**answer, "ended_early": dict(ended)}), flush=True)
                os._exit(0)
            chunk = key.fileobj.recv(65536)
            heard[key.data] += len(chunk)
            if not chunk:
                ended[key.data] += 1
                poll.unregister(key.fileobj)


def opened(url, kind):
    parts = urlsplit(url)
    stream = socket.create_connection((parts.hostname, parts.port))
    path = {
        "sockets": "/v1/watch?kinds=workers,executors",
        "events": "/v1/workers:watch?kinds=workers,executors",
        "tasks": "/v1/tasks:watch?worker=flow",
        "tails": "/v1/workers/flow/logs?follow=true",
    }[kind]
    more = ""
    if kind == "sockets":
        more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        more += "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{more}\r\n".encode())
    head = stream.recv(4096)
    assert head.split()[1] in (b"200", b"101"), head
    return stream


def follow_grpc(grpc_url, kind, heard, ended, channels=[]):  # noqa: B006 - one for all
    import grpc

    from workmanager.v1 import worker_service_pb2 as pb

    if not channels:
        channels.append(grpc.insecure_channel(urlsplit(grpc_url).netloc))
    name, request = "WatchWorkers", pb.WatchWorkersRequest(kinds=["workers", "executors"])
    if kind == "grpc_tails":
        name, request = "TailLogs", pb.TailLogsRequest(worker="flow")
    stream = channels[0].unary_stream(f"/workmanager.v1.WorkerService/{name}")
    messages = stream(request.SerializeToString())

    def take():
        try:
            for message in messages:
                heard[kind] += len(message)
        except grpc.RpcError:
            ended[kind] += 1

    threading.Thread(target=take, daemon=True).start()


# -- traces --------------------------------------------------------------------------------------


def traces(folder, events):
    """How fast a backlog is handled, with traces of everything and without."""
    found = {"off": drained(folder / "off", events, {})}
    with collecting() as url:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        found["all sampled"] = drained(folder / "on", events, on)
        some = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
        found["1 % sampled"] = drained(folder / "some", events, on | some)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        found["all sampled, dead collector"] = drained(folder / "dead", events, dead)
    found["off again"] = drained(folder / "again", events, {})
    off = [(a + b) / 2 for a, b in zip(found["off"], found["off again"], strict=True)]
    return {
        name: {
            "drain_per_s": rate,
            "cpu_us": cpu_us,
            "rate_ratio": round(rate / off[0], 2),
            "cpu_ratio": round(cpu_us / off[1], 2),
        }
        for name, (rate, cpu_us) in found.items()
    }


def drained(state, events, environ):
    service = Service.start(state, environ=environ).wait_ready()
    try:
        client = service.client()
        apply(client, "w", NO_OP, "t")
        client.post("/v1/workers/w:pause")
        publish(client, "t", events)
        before, began = cpu_s(service), time.monotonic()
        client.post("/v1/workers/w:resume")
        completed(client, "w", events)
        rate = round(events / (time.monotonic() - began))
        cpu_us = round(1e6 * (cpu_s(service) - before) / events, 1)
        client.close()
    finally:
        service.stop()
    return rate, cpu_us


@contextmanager
def collecting():
    """Take spans and throw them away."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def show_streams(found):
    names = ("call_p50", "call_p99", "event_p50", "event_p99", "cpu_percent")
    print(f"{'ms, 1,000 events/s':24}" + "".join(f"{name:>13}" for name in names))
    for phase, row in found["phases"].items():
        print(f"{phase:24}" + "".join(f"{row[name]:>13}" for name in names))
    for phase in list(found["phases"])[1:-1]:
        ratios = found["ratios"][phase]
        print(f"{'ratio':24}" + "".join(f"{ratios[name]:>13}" for name in names) + f"  {phase}")
    print(f"memory: {found['memory_mib_more']} MiB more; MiB heard: {found['heard_mib']}")
    print(f"streams that ended early: {sum(found['ended_early'].values())}")


def show_traces(found):
    print(f"\n{'traces':32}{'events/s':>10}{'ratio':>8}{'us of CPU':>12}{'ratio':>8}")
    for name, row in found.items():
        print(
            f"{name:32}{row['drain_per_s']:>10,}{row['rate_ratio']:>8}{row['cpu_us']:>12}"
            f"{row['cpu_ratio']:>8}"
        )


if __name__ == "__main__":
    main()
