"""Logs through REST: the last lines, and the event stream that can be resumed."""

import json

import pytest

pytestmark = [pytest.mark.system, pytest.mark.slow]


def lines_of(rest, name, count):
    """Return the lines that *name* printed once there are *count*."""

    def ask():
        items = rest.call("GET", f"/v1/workers/{name}/logs")["items"]
        return [line for line in items if line["text"].startswith("seen")]

    return rest.until(ask, holds=lambda lines: len(lines) >= count)


def stream(response, count):
    """Read *count* events of an event stream as (id, line)."""
    found, event_id = [], None
    for text in response.iter_lines():
        if text.startswith("id: "):
            event_id = text[4:]
        elif text.startswith("data: "):
            found.append((event_id, json.loads(text[6:])))
            if len(found) == count:
                return found
    raise AssertionError(found)


def test_what_a_worker_prints_is_kept_with_its_task(rest):
    name = rest.create()
    task = rest.invoke(name)["task"]
    line = lines_of(rest, name, 1)[0]
    assert (line["worker"], line["task"]) == (name, task)
    assert rest.call("GET", "/v1/logs", params={"tail": 0, "sinceSeq": line["seq"] - 1})["items"]


def test_following_shows_kept_lines_then_new_ones_and_resumes(rest):
    name = rest.create()
    rest.invoke(name)
    kept = lines_of(rest, name, 1)[0]
    query = {"follow": "1", "sinceSeq": kept["seq"] - 1}
    with rest.client.stream("GET", f"/v1/workers/{name}/logs", params=query) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert stream(response, 1) == [(str(kept["seq"]), kept)]
    rest.invoke(name)
    new = lines_of(rest, name, 2)[1]
    resumed = {"params": {"follow": ""}, "headers": {"last-event-id": str(new["seq"] - 1)}}
    with rest.client.stream("GET", f"/v1/workers/{name}/logs", **resumed) as response:
        assert stream(response, 1)[0][1]["seq"] == new["seq"]


def test_a_stream_of_an_unknown_worker_is_refused(rest):
    path = "/v1/workers/absent/logs?follow=1"
    rest.refusal("GET", path, status=404, reason="WORKER_NOT_FOUND")
    rest.refusal(
        "GET",
        "/v1/logs?follow=1",
        headers={"last-event-id": "x"},
        status=400,
        reason="INVALID_ARGUMENT",
    )


def test_an_open_stream_does_not_hold_up_the_shutdown(make, tmp_path):
    with make.serving(tmp_path / "state") as rest:
        name = rest.create()
        with rest.client.stream("GET", f"/v1/workers/{name}/logs?follow=1") as response:
            rest.process.terminate()
            list(response.iter_lines())  # ends, and as it should
            assert rest.process.wait(10) == 0
