"""What the sandbox costs, and what a neighbour feels of a worker that misbehaves.

    python tests/bench/bench_sandbox.py [--json FILE] [--rounds 2]

Starts: from the request to READY, by the zygote, for each level that this host gives. Throughput:
the same no-op worker at level none and at the highest, in turns. Neighbours: the time from publish
to handler of one worker, 100 events a second, while another one runs each bomb; before and during
are measured in turns, for these machines are shared. The whole run is bounded to two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "executors"))

from bench_service import NO_OP, STAMP, apply, completed, delete, publish
from harness import ZygoteProcess
from system_harness import Service, event

LEVELS = ("none", "basic", "full", "uid")
LIMITS = {"memoryBytes": 256 << 20}
STARTS = 25
IDLE = 30
RATE = 100
SECONDS = 2.0
BOMBS = {
    "cpu": """
        import threading
        def burn():
            while True:
                sum(i * i for i in range(10_000))
        for _ in range(8):
            threading.Thread(target=burn, daemon=True).start()
        burn()
    """,
    "memory": """
        import mmap
        while True:
            hoard = []
            try:
                while True:
                    hoard.append(b"x" * (4 << 20))
            except MemoryError:
                pass
    """,
    "disk": """
        import os
        host = os.open(os.__file__, os.O_RDONLY)
        while True:
            try:
                with open(os.environ["TMPDIR"] + "/fill", "wb") as file:
                    while True:
                        file.write(b"x" * (1 << 20))
                        file.flush()
                        os.fsync(file.fileno())
                        os.fsync(host)
            except OSError:
                pass
    """,
    "log flood": """
        import os
        while True:
            print("x" * 200)
            os.write(1, b"y" * 60_000 + b"\\\\n")
    """,
    "ipc flood": """
        import os
        from workmanager_executor.frames import encode
        beats = encode(["heartbeat", 1, b"{}"]) * 200
        lines = encode(["log", None, "INFO", "z" * 100]) * 200
        while True:
            os.write(4, beats)
            os.write(4, lines)
    """,
    "crash loop": "import os; os._exit(1)",
}
BOMB = "def process(event):\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    figures = {"starts": starts()}
    with tempfile.TemporaryDirectory(prefix="wm-bench-") as folder:
        Path(folder).chmod(0o755)
        service = Service.start(Path(folder) / "state").wait_ready()
        try:
            client = service.client()
            figures["throughput"] = throughput(client, options.rounds)
            figures["neighbours"] = [neighbour(client, name, options.rounds) for name in BOMBS]
        finally:
            service.stop()
    figures["seconds"] = round(time.monotonic() - began, 1)
    show(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


# -- starts --------------------------------------------------------------------------------------


def starts():
    """Each level's time to READY and memory, one executor after the other."""
    with ZygoteProcess.start() as zygote:
        return [row for level in LEVELS if (row := start(zygote, level))]


def start(zygote, level):
    if level == "uid" and os.geteuid() != 0:
        return None
    times, executors = [], []
    for number in range(STARTS + IDLE):
        began = time.perf_counter()
        uid = {"uid": 64_000 + number} if level == "uid" else {}
        executor = zygote.spawn(sandbox={"level": level, "limits": LIMITS, **uid})
        executor.ready(NO_OP)
        times.append((time.perf_counter() - began) * 1000)
        executors.append(executor)
    for executor in executors:
        executor.run_one()
    pss = [pss_mib(executor.pid) for executor in executors]
    for executor in executors:
        os.kill(executor.pid, 9)
        executor.wait()
        executor.__exit__(None, None, None)
    return {
        "level": level,
        "ready_p50_ms": round(statistics.median(times), 1),
        "ready_min_ms": round(min(times), 1),
        "pss_mib": round(statistics.mean(pss), 2),
    }


def pss_mib(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no Pss")


# -- throughput ----------------------------------------------------------------------------------


def throughput(client, rounds, events=30_000):
    """Drain the same backlog at level none and at the highest, in turns."""
    rates = {"none": [], "auto": []}
    for number in range(2 * rounds + 1):
        for level, found in sorted(rates.items(), reverse=bool(number % 2)):
            name = f"noop-{level}-{number}"
            isolation = {} if level == "auto" else {"isolation": {"level": level}}
            apply(client, name, NO_OP, name, **isolation)
            client.post(f"/v1/workers/{name}:pause")
            publish(client, name, events)
            began = time.monotonic()
            client.post(f"/v1/workers/{name}:resume")
            completed(client, name, events)
            found.append(events / (time.monotonic() - began))
            delete(client, name)
    none, highest = statistics.median(rates["none"]), statistics.median(rates["auto"])
    return {
        "none_per_s": round(none),
        "sandboxed_per_s": round(highest),
        "cost_percent": round(100 * (1 - highest / none), 1),
    }


# -- neighbours ----------------------------------------------------------------------------------


def neighbour(client, name, rounds):
    """The neighbour's times without and with the bomb, in turns."""
    quiet, loud = [], []
    body = textwrap.indent(textwrap.dedent(BOMBS[name]).strip(), "    ")
    restart = {"backoffInitial": "50ms", "backoffMax": "50ms", "startLimitBurst": 0}
    for _ in range(rounds):
        quiet += stamps(client)
        apply(client, "bomb", BOMB + body, "bomb", restart=restart)
        publish(client, "bomb", 1 if name != "crash loop" else 200)
        loud += stamps(client)
        delete(client, "bomb")
    return {
        "bomb": name,
        "p50_us": [quantile(quiet, 0.5), quantile(loud, 0.5)],
        "p99_us": [quantile(quiet, 0.99), quantile(loud, 0.99)],
        "ratio_p50": round(quantile(loud, 0.5) / quantile(quiet, 0.5), 2),
        "ratio_p99": round(quantile(loud, 0.99) / quantile(quiet, 0.99), 2),
    }


def stamps(client):
    """Publish at a steady rate and return the times until the handler was entered."""
    apply(client, "stamp", STAMP, "stamp")
    count = int(RATE * SECONDS)
    stop = threading.Event()
    due = time.monotonic()
    for n in range(count):
        data = {"n": n, "sent": time.monotonic_ns()}
        client.publish("stamp", [event(data, id=f"stamp-{n}")])
        due += 1 / RATE
        stop.wait(max(0.0, due - time.monotonic()))
    completed(client, "stamp", count)
    lines = client.get(f"/v1/workers/stamp/logs?tail={count}")["items"]
    delete(client, "stamp")
    return [int(line["text"].split()[0]) for line in lines]


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def show(figures):
    for row in figures["starts"]:
        print(
            f"level {row['level']:6} ready {row['ready_p50_ms']:>6} ms (at best "
            f"{row['ready_min_ms']}), {row['pss_mib']} MiB PSS"
        )
    row = figures["throughput"]
    print(
        f"\nno-op {row['none_per_s']:,}/s at none, {row['sandboxed_per_s']:,}/s sandboxed: "
        f"costs {row['cost_percent']} %\n"
    )
    print(f"{'neighbour of':14}{'p50 us':>18}{'p99 us':>20}   ratios")
    for row in figures["neighbours"]:
        p50, p99 = ("{:,} -> {:,}".format(*row[key]) for key in ("p50_us", "p99_us"))
        print(f"{row['bomb']:14}{p50:>18}{p99:>20}   {row['ratio_p50']}, {row['ratio_p99']}")
    print(f"took {figures['seconds']} s")


if __name__ == "__main__":
    main()
