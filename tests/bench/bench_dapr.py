"""What the backend dapr costs: events through a sidecar, next to a subscriber that only answers.

    python tests/bench/bench_dapr.py [--events 5000] [--json FILE]

Both take the same events off the same sidecar in one run: a bare subscriber on Dapr's own stubs
that answers SUCCESS to everything, and a service with a worker that does nothing. The sidecar is
the fake one, written in Python, or a real daprd over Redis where DAPRD names it. Quote the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "system"), str(TESTS / "dapr")]

from dapr.proto.runtime.v1 import pubsub_pb2  # noqa: E402 - the path is set first
from dapr_client import CLOUD_EVENT, Client  # noqa: E402
from sidecars import DAPRD, fake_sidecar, real_sidecar, redis_server  # noqa: E402
from system_harness import Service, manifest, until  # noqa: E402

BULK = 100
PAD = "x" * 150
NO_OP = "def process(event):\n    return None\n"
STAMP = """
import time
def process(event):
    print("took", (time.monotonic_ns() - event.data["sent"]) // 1000)
"""
WIDE = ("--concurrency", "200", "--queue-depth", "1000")
BIG = {"maxCount": 2_000_000, "maxBytes": "2Gi"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wm-bench-dapr-") as folder:
        figures = measure(Path(folder), options.events)
    print(json.dumps(figures, indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder, events):
    figures = {"sidecar": "daprd" if DAPRD else "fake", "events": events}
    with sidecar(folder) as place:
        client = Client(place.grpc_port)
        service = Service.start(folder / "state", environ=place.environment).wait_ready()
        try:
            bare = figures["bare_per_s"] = round(bare_rate(client, events))
            ours = figures["service_per_s"] = round(service_rate(service, client, events))
            figures["bare_latency_us"] = spread(bare_latency(client))
            figures["service_latency_us"] = spread(service_latency(service, client))
        finally:
            service.stop()
            client.close()
    p50 = [figures[f"{who}_latency_us"]["p50"] for who in ("service", "bare")]
    figures["ratios"] = {
        "throughput, service / bare": round(ours / bare, 2),
        "latency p50, service / bare": round(p50[0] / p50[1], 2),
    }
    return figures


@contextmanager
def sidecar(folder):
    """Run a sidecar whose component does not hold the subscriber up."""
    with ExitStack() as stack:
        if not DAPRD:
            yield stack.enter_context(fake_sidecar("workmanager", *WIDE))
            return
        redis = stack.enter_context(redis_server(folder / "redis"))
        wide = {"concurrency": "200", "queueDepth": "1000"}
        place = real_sidecar("workmanager", folder / "daprd", redis_port=redis, **wide)
        yield stack.enter_context(place)


def fill(client, topic, events):
    """Put *events* into a topic that nobody listens to yet."""
    for start in range(0, events, BULK):
        entries = [
            pubsub_pb2.BulkPublishRequestEntry(
                entry_id=str(n),
                event=json.dumps(one(n, {"n": n, "pad": PAD})).encode(),
                content_type=CLOUD_EVENT,
                metadata={"rawPayload": "true"},
            )
            for n in range(start, min(start + BULK, events))
        ]
        request = pubsub_pb2.BulkPublishRequest(
            pubsub_name="pubsub", topic=topic, entries=entries, metadata={"rawPayload": "true"}
        )
        client.stub.BulkPublishEvent(request)


def one(number, data):
    made = {"specversion": "1.0", "id": str(number), "source": "/bench", "type": "bench"}
    return {**made, "datacontenttype": "application/json", "data": data}


def bare_rate(client, events):
    fill(client, "bare", events)
    seconds = []
    stream = client.subscribe("bare", metadata={"rawPayload": "true"})
    try:
        for n in range(events):
            stream.take(60)
            if n == 0:
                seconds.append(time.monotonic())
        seconds.append(time.monotonic())
    finally:
        stream.close()
    return (events - 1) / (seconds[1] - seconds[0])


def service_rate(service, client, events):
    """The rate between the first task that is done and the last, as the service counts them."""
    fill(client, "full", events)
    calls = service.client()
    calls.post("/v1/workers", manifest("full", NO_OP, topic="full", inbox=BIG))

    def done():
        return calls.get("/v1/workers/full")["status"]["tasksCompleted"]

    first = until(done, timeout_s=60)
    began = time.monotonic()
    until(lambda: done() == events, timeout_s=120, every_s=0.1)
    took_s = time.monotonic() - began
    calls.close()
    return (events - first) / took_s


def send_slowly(client, topic, count=200):
    for n in range(count):
        client.send(topic, one(n, {"sent": time.monotonic_ns()}))
        time.sleep(0.01)  # the rate of the measurement


def bare_latency(client):
    stream = client.subscribe("slow-bare")
    sender = threading.Thread(target=send_slowly, args=(client, "slow-bare"))
    sender.start()
    out = []
    try:
        for _ in range(200):
            sent = json.loads(stream.take(60).data)["sent"]
            out.append((time.monotonic_ns() - sent) // 1000)
    finally:
        sender.join()
        stream.close()
    return out


def service_latency(service, client):
    calls = service.client()
    calls.post("/v1/workers", manifest("stamp", STAMP, topic="slow"))
    send_slowly(client, "slow")
    path = "/v1/workers/stamp"
    until(lambda: calls.get(path)["status"]["tasksCompleted"] == 200, timeout_s=60)
    lines = calls.get(f"{path}/logs?tail=1000")["items"]
    calls.close()
    return [int(line["text"].split()[1]) for line in lines if line["text"].startswith("took")]


def spread(values):
    ranked = sorted(values)
    return {"p50": statistics.median(ranked), "p99": ranked[int(len(ranked) * 0.99)]}


if __name__ == "__main__":
    main()
