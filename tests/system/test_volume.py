"""A hundred thousand events through two workers: each handled once by each."""

from __future__ import annotations

import json
import time

import pytest
from system_harness import until

COUNT = 100_000
CHUNK = 1000
FIRST = "def process(event): return event.data"
SECOND = """
seen, total = set(), 0
def process(event):
    global total
    if event.type == "count":
        return {"total": total, "distinct": len(seen)}
    total += 1
    seen.add(event.attributes["causationid"])
"""


def batches():
    data = {"pad": "x" * 200}
    for start in range(0, COUNT, CHUNK):
        yield json.dumps(
            [
                {
                    "specversion": "1.0",
                    "id": f"{n:08}",
                    "source": "/tests/volume",
                    "type": "t",
                    "data": data,
                }
                for n in range(start, start + CHUNK)
            ]
        ).encode()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hundred_thousand_events_are_handled_once_by_each(lab):
    inbox = {"maxCount": 10_000_000, "maxBytes": "1GiB"}
    second = lab.worker("second", SECOND, topic="mid", inbox=inbox, dedupe={"window": 0})
    first = lab.worker("first", FIRST, topic="in", output="mid", inbox=inbox)
    bodies = list(batches())
    size = len(bodies[0]) // CHUNK
    path = f"/v1/topics/{lab.topic('in')}:publish"
    headers = {"content-type": "application/cloudevents-batch+json"}
    began = time.monotonic()
    for body in bodies:
        assert lab.client.post(path, body, headers=headers)["accepted"] == CHUNK
    published_s = time.monotonic() - began
    until(
        lambda: second.status()["tasksCompleted"] >= COUNT,
        timeout_s=200,
        every_s=0.1,
        what="the second has handled all",
    )
    took_s = time.monotonic() - began
    counted = second.invoke(type="count")["outputs"][0]["data"]
    assert counted == {"total": COUNT, "distinct": COUNT}
    status = first.status()
    assert (status["tasksCompleted"], status["tasksFailed"], status["backlog"]) == (COUNT, 0, 0)
    assert status["restarts"] == 0
    print(
        f"\n{COUNT} events of {size} B: published at {COUNT / published_s:,.0f}/s, through both"
        f" workers in {took_s:.1f} s ({COUNT / took_s:,.0f} events/s, {2 * COUNT / took_s:,.0f}"
        " tasks/s)"
    )
