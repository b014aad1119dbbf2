"""What the engines cost beside each other: Python, C# source, and a .NET assembly.

    python tests/bench/bench_engines.py [--events 50000] [--json FILE]

All in one run of one service, through the whole durable path, in turns: quote the ratios to Python,
not the figures of a shared machine. Without .NET there are Python's rows only.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "executors" / "dotnet"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "executors"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_service import BIG, completed, delete, invoke, machine, publish
from system_harness import Service, manifest

import dotnet_fixture

ROUNDS = 3
WARM_UP = 20_000
STARTS = 10
IDLE = 4
NO_OP = {
    "text/x-python": "def process(event):\n    return None\n",
    "text/x-csharp": "public class W { public void Process(CloudEvent e) { } }",
}
READ = {
    "text/x-python": "def process(event):\n    return {'n': event.data['n'] + 1}\n",
    "text/x-csharp": """
        public record In(int N);
        public class W { public object Process(In data) => new { N = data.N + 1 }; }
    """,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    figures = measure(options.events)
    show(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(events):
    try:
        dotnet = dotnet_fixture.find()
    except dotnet_fixture.UnavailableError as error:
        print(f"no .NET: {error}", file=sys.stderr)
        return run(events, {}, {"Python": ("text/x-python", str.encode)})
    from dotnet_harness import Compiler, start_zygote

    with start_zygote() as zygote:
        compiler = Compiler.start(zygote, dotnet)
        with compiler.executor:
            engines = {
                "Python": ("text/x-python", str.encode),
                "C#": ("text/x-csharp", str.encode),
                "DLL": ("text/x-dll", compiler.compile),
            }
            return run(events, dotnet.settings, engines)


def run(events, environ, engines):
    with tempfile.TemporaryDirectory(prefix="wm-bench-") as folder:
        service = Service.start(Path(folder) / "state", environ=environ).wait_ready()
        client = service.client()
        try:
            rows = {name: {} for name in engines}
            for what, codes in (("no-op", NO_OP), ("read and write", READ)):
                for name, found in throughput(client, engines, codes, events).items():
                    rates, costs = zip(*found, strict=True)
                    rows[name][f"{what}_per_s"] = round(statistics.median(rates))
                    rows[name][f"{what}_cpu_us"] = round(statistics.median(costs), 1)
            for name, engine in engines.items():
                rows[name] |= starts(client, name, engine) | memory(client, engine)
        finally:
            client.close()
            service.stop()
    for name, row in rows.items():
        for what in ("no-op", "read and write"):
            key = f"{what}_per_s"
            rows[name][f"{what}_of_python"] = round(row[key] / rows["Python"][key], 2)
    return {"machine": machine(), "engines": rows}


def throughput(client, engines, codes, events):
    """Drain a full inbox, the engines in turns, each after a warm-up: .NET compiles while it runs.

    Returns events a second, and microseconds of the executor's processor time for each, by engine.
    """
    found = {name: [] for name in engines}
    for turn, name in itertools.product(range(ROUNDS), engines):
        worker = f"w{turn}"
        create(client, worker, engines[name], codes, topic=worker)
        publish(client, worker, WARM_UP)
        completed(client, worker, WARM_UP)
        client.post(f"/v1/workers/{worker}:pause")
        publish(client, worker, WARM_UP + events)  # of which it knows the first
        began, before = time.monotonic(), executor_cpu_s(client, worker)
        client.post(f"/v1/workers/{worker}:resume")
        completed(client, worker, WARM_UP + events, every_s=0.03)
        rate = events / (time.monotonic() - began)
        used_s = executor_cpu_s(client, worker) - before
        found[name].append((rate, 1e6 * used_s / events))
        delete(client, worker)
    return found


def executor_cpu_s(client, worker):
    executors = [e for e in client.get("/v1/executors")["items"] if e["worker"] == worker]
    times = [psutil.Process(e["pid"]).cpu_times() for e in executors]
    return sum(each.user + each.system for each in times)


def starts(client, name, engine):
    """Create a worker whose code is known already, until its first event is handled."""
    first, times = 0.0, []
    for n in range(STARTS + 1):
        began = time.monotonic()
        create(client, f"s{n}", engine, NO_OP if n else fresh(name))
        invoke(client, f"s{n}")
        took_ms = (time.monotonic() - began) * 1000
        if n:
            times.append(took_ms)
        else:
            first = took_ms
        delete(client, f"s{n}")
    return {"first_start_ms": round(first), "start_ms": round(statistics.median(times))}


def fresh(name):
    """Code that has not been seen before."""
    return {
        media: f"{code}{'#' if media.endswith('python') else '//'} {name}"
        for media, code in NO_OP.items()
    }


def memory(client, engine):
    for n in range(IDLE):
        create(client, f"m{n}", engine, NO_OP)
        invoke(client, f"m{n}")
    found = [e for e in client.get("/v1/executors")["items"] if e["worker"].startswith("m")]
    for n in range(IDLE):
        delete(client, f"m{n}")
    return {
        "idle_rss_mib": round(statistics.mean(e["memoryRssBytes"] for e in found) / 2**20, 1),
        "idle_pss_mib": round(statistics.mean(e["memoryPssBytes"] for e in found) / 2**20, 1),
    }


def create(client, worker, engine, codes, *, topic=""):
    media_type, make = engine
    source = codes.get(media_type, codes["text/x-csharp"])
    made = manifest(worker, "", topic=topic, inbox=BIG, engine=media_type, dedupe={"window": 0})
    made["spec"]["code"] = {"content": base64.b64encode(make(source)).decode()}
    client.call("PUT", f"/v1/workers/{worker}", made)


def show(figures):
    print(f"machine: {figures['machine']}\n")
    rows = figures["engines"]
    print(f"{'':28}" + "".join(f"{name:>12}" for name in rows))
    for key in next(iter(rows.values())):
        print(f"{key.replace('_', ' '):28}" + "".join(f"{row[key]:>12,}" for row in rows.values()))


if __name__ == "__main__":
    main()
