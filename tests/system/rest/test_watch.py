"""Watching through REST: what there is, then each change; over server-sent events and WebSocket."""

import contextlib
import json
import socket
import time
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlencode

import psutil
import pytest
import trio
import trio_websocket

pytestmark = [pytest.mark.system, pytest.mark.slow]

LIMIT_S = 20
FLOOD = 60  # thousands of events: more than sockets and queues hold of what is told of them


@contextmanager
def events(rest, path, **options):
    """Follow an event stream; yields a function that returns the next change as (id, change)."""
    with rest.client.stream("GET", path, **options) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()

        def take():
            token = ""
            for text in lines:
                if text.startswith("id: "):
                    token = text[4:]
                elif text.startswith("data: "):
                    return token, json.loads(text[6:])
            raise AssertionError("the stream has ended")

        yield take


def until(take, wanted):
    """Take changes until *wanted* holds for one; returns all of them."""
    seen = []
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        seen.append(take()[1])
        if wanted(seen[-1]):
            return seen
    raise AssertionError(seen)


@asynccontextmanager
async def watching(rest, *, headers=(), buffer_bytes=None, **query):
    """Open /v1/watch over TCP with the token."""
    host, port = rest.url.partition("://")[2].rsplit(":", 1)
    raw = trio.socket.socket()
    if buffer_bytes:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    with trio.fail_after(LIMIT_S):
        await raw.connect((host, int(port)))
        headers = headers or [(b"authorization", f"Bearer {rest.token}".encode())]
        async with trio.SocketStream(raw) as stream, trio.open_nursery() as nursery:
            path = f"/v1/watch?{urlencode(query)}"
            connection = await trio_websocket.wrap_client_stream(
                nursery, stream, host, path, extra_headers=headers
            )
            async with connection:
                yield connection


async def changes_until(connection, wanted):
    seen = []
    while not (seen and wanted(seen[-1])):
        seen += json.loads(await connection.get_message())["changes"]
    return seen


def test_a_stream_begins_with_what_there_is_and_goes_on_with_changes(rest, make):
    name = rest.create()
    with events(rest, f"/v1/workers:watch?worker={name}") as take:
        token, first = take()
        assert (first["type"], first["kind"], token) == ("ADDED", "worker", "")
        assert first["worker"] == {**rest.call("GET", f"/v1/workers/{name}"), "status": ANY}
        token, mark = take()
        assert (mark["type"], mark["resumeToken"]) == ("BOOKMARK", token)
        rest.call("POST", f"/v1/workers/{name}:stop")
        stopped = until(take, lambda c: c["worker"]["status"]["state"] == "STOPPED")
        assert {change["type"] for change in stopped} == {"MODIFIED"}
        rest.call("DELETE", f"/v1/workers/{name}", status=202)
        assert until(take, lambda c: c["type"] == "DELETED")[-1]["worker"]["name"] == name


class _Any:
    def __eq__(self, other):
        return True

    __hash__ = None


ANY = _Any()


def test_a_stream_that_was_cut_goes_on_after_its_token(rest):
    name = rest.create()
    path = f"/v1/workers:watch?worker={name}"
    with events(rest, path) as take:
        take()
        token, _ = take()
    rest.call("POST", f"/v1/workers/{name}:pause")
    with events(rest, path, headers={"last-event-id": token}) as take:
        seen = until(take, lambda c: c["worker"]["status"]["state"] == "PAUSED")
        assert {change["kind"] for change in seen} == {"worker"}  # not the list again


def test_new_workers_and_their_executors_are_told(rest):
    with events(rest, "/v1/workers:watch?kinds=workers,executors") as take:
        until(take, lambda c: c["type"] == "BOOKMARK")
        name = rest.create()
        ready = until(take, lambda c: c["kind"] == "executor" and c["type"] == "ADDED")
        assert next(c["type"] for c in ready if c["kind"] == "worker") == "ADDED"
        assert ready[-1]["executor"]["worker"] == name
        rest.call("POST", f"/v1/workers/{name}:stop")
        gone = until(take, lambda c: c["kind"] == "executor" and c["type"] == "DELETED")
        assert gone[-1]["executor"]["state"] == "EXITED"


def test_counters_are_told_within_seconds(rest):
    name = rest.create()
    with events(rest, f"/v1/workers:watch?worker={name}") as take:
        until(take, lambda c: c["type"] == "BOOKMARK")
        rest.invoke(name)
        until(take, lambda c: c["worker"]["status"]["tasksCompleted"] == 1)


def test_tasks_are_told_from_acceptance_to_their_end(rest, make):
    name = rest.create(triggers=[{"topic": "watched.tasks"}])
    with events(rest, f"/v1/tasks:watch?worker={name}") as take:
        assert take()[1]["type"] == "BOOKMARK"  # no open task
        rest.call("POST", "/v1/topics/watched.tasks:publish", **structured(make.event(data=1)))
        seen = until(take, lambda c: c["task"]["status"] == "COMPLETED")
    assert seen[0]["type"] == "ADDED"
    assert {change["type"] for change in seen[1:]} <= {"MODIFIED"}
    task = seen[-1]["task"]
    assert task == {**rest.call("GET", f"/v1/tasks/{task['id']}")}
    assert task["topic"] == "watched.tasks"


def structured(event):
    return {"json": event, "headers": {"content-type": "application/cloudevents+json"}}


def test_open_tasks_stand_at_the_beginning(rest, make):
    name = rest.create(triggers=[{"topic": "watched.open"}])
    rest.call("POST", f"/v1/workers/{name}:pause")
    for number in range(3):
        body = make.event(id=str(number))
        rest.call("POST", "/v1/topics/watched.open:publish", **structured(body))
    with events(rest, f"/v1/tasks:watch?worker={name}") as take:
        seen = until(take, lambda c: c["type"] == "BOOKMARK")
    assert [c["task"]["eventId"] for c in seen[:-1]] == ["0", "1", "2"]
    assert {c["task"]["status"] for c in seen[:-1]} == {"SCHEDULED"}


async def test_dead_letters_are_told_over_a_websocket(rest, make):
    name = await blocking(
        rest.create,
        make.FAIL,
        triggers=[{"topic": "watched.dead"}],
        retry={"maximumAttempts": 1},
    )
    async with watching(rest, kinds="deadLetters,tasks", worker=name) as connection:
        await changes_until(connection, lambda c: c["type"] == "BOOKMARK")
        large = make.event(id="large", data="x" * 100_000)
        await publish(rest, "watched.dead", make.event(id="small", data={"n": 1}), large)
        seen = await changes_until(connection, lambda c: is_dead(c, "large"))
        kept = {
            c["deadLetter"]["event"]["id"]: c["deadLetter"] for c in seen if c["kind"][0] == "d"
        }
        assert kept["small"]["event"]["data"] == {"n": 1}
        assert "data" not in kept["large"]["event"]  # it would be too much for a stream
        assert {c["task"]["status"] for c in seen if c["kind"] == "task"} >= {"FAILED"}
        await blocking(rest.call, "POST", "/v1/deadLetters:purge", json={"worker": name})
        gone = await changes_until(connection, lambda c: is_dead(c, "large", "DELETED"))
        assert gone[-1]["deadLetter"]["worker"] == name
    async with watching(rest, kinds="deadLetters", resumeToken=gone[-1]["resumeToken"]) as again:
        await publish(rest, "watched.dead", make.event(id="later"))
        seen = await changes_until(again, lambda c: is_dead(c, "later"))
        assert len(seen) == 1


def test_a_dead_letter_on_its_way_is_not_missed(rest, make):
    retry = {"maximumAttempts": 1}
    name = rest.create(make.FAIL, triggers=[{"topic": "watched.way"}], retry=retry)
    for number in range(8):
        made = make.event(id=f"way-{number}")
        rest.call("POST", "/v1/topics/watched.way:publish", **structured(made))
        with events(rest, f"/v1/tasks:watch?kinds=deadLetters&worker={name}") as take:
            until(take, lambda c, made=made: c["type"] == "ADDED" and is_dead(c, made["id"]))


def is_dead(change, event_id, type_="ADDED"):
    if (change["kind"], change["type"]) != ("deadLetter", type_):
        return False
    return change["deadLetter"]["event"]["id"] == event_id


async def blocking(call, *args, **options):
    return await trio.to_thread.run_sync(lambda: call(*args, **options))


async def publish(rest, topic, *events_):
    headers = {"content-type": "application/cloudevents-batch+json"}
    path = f"/v1/topics/{topic}:publish"
    return await blocking(rest.call, "POST", path, json=events_, headers=headers)


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ({"kinds": "sheep"}, 400, "INVALID_ARGUMENT"),
        ({"kind": "workers"}, 400, "INVALID_ARGUMENT"),
        ({"worker": "absent"}, 404, "WORKER_NOT_FOUND"),
        ({"resumeToken": "0-0"}, 410, "RESUME_TOKEN_EXPIRED"),
    ],
)
async def test_a_wrong_question_is_refused_by_both_doors(rest, query, status, reason):
    rejected = await rejection(rest, **query)
    assert rejected.status_code == status
    assert json.loads(rejected.body)["reason"] == reason
    path = f"/v1/workers:watch?{urlencode(query)}"
    await blocking(rest.refusal, "GET", path, status=status, reason=reason)


@pytest.mark.parametrize("headers", [[(b"x", b"y")], [(b"authorization", b"Bearer wrong-token")]])
async def test_a_websocket_asks_for_credentials(rest, headers):
    assert (await rejection(rest, headers=headers)).status_code == 401


async def rejection(rest, **options):
    """Open a WebSocket that is refused; returns how."""
    try:
        async with watching(rest, **options):
            raise AssertionError("it was accepted")
    except* trio_websocket.ConnectionRejected as group:
        error = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
    return error


async def test_a_client_that_stops_reading_is_cut_off_and_the_service_goes_on(rest, make):
    name = await blocking(
        rest.create,
        "def process(event): pass\n",
        triggers=[{"topic": "watched.flood"}],
        inbox={"maxCount": 100_000},
    )
    process = psutil.Process(rest.process.pid)
    async with watching(rest, kinds="tasks", worker=name, buffer_bytes=4096) as connection:
        await changes_until(connection, lambda c: c["type"] == "BOOKMARK")
        before = process.memory_info().rss
        for batch in range(FLOOD):
            made = [make.event(id=f"{batch}-{number}") for number in range(1000)]
            await publish(rest, "watched.flood", *made)
            assert (await blocking(rest.call, "GET", "/v1/health"))["status"] == "ok"
        done = lambda: rest.call("GET", f"/v1/workers/{name}")["status"]["tasksCompleted"]  # noqa: E731
        await blocking(rest.until, done, holds=lambda count: count == FLOOD * 1000)
        grown = process.memory_info().rss - before
        print(f"\n{FLOOD},000 tasks, one reader that sleeps: {grown / 2**20:.0f} MiB more")
        assert grown < 150 * 2**20
        assert (await last_message(connection))["error"]["reason"] == "SLOW_READER"


def test_an_event_stream_that_is_not_read_is_cut_off_with_a_reason(rest, make):
    flood = {"triggers": [{"topic": "watched.sse"}], "inbox": {"maxCount": 100_000}}
    name = rest.create("def process(event): pass\n", **flood)
    process = psutil.Process(rest.process.pid)
    host, port = rest.url.partition("://")[2].rsplit(":", 1)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(LIMIT_S)
        raw.connect((host, int(port)))
        head = f"GET /v1/tasks:watch?worker={name} HTTP/1.1\r\nhost: {host}\r\n"
        raw.sendall(f"{head}authorization: Bearer {rest.token}\r\n\r\n".encode())
        assert raw.recv(1024).startswith(b"HTTP/1.1 200")
        before = process.memory_info().rss
        for batch in range(FLOOD):
            made = [make.event(id=f"{batch}-{number}") for number in range(1000)]
            headers = {"content-type": "application/cloudevents-batch+json"}
            path = "/v1/topics/watched.sse:publish"
            rest.call("POST", path, json=made, headers=headers)
            assert rest.call("GET", "/v1/health")["status"] == "ok"
        done = lambda: rest.call("GET", f"/v1/workers/{name}")["status"]["tasksCompleted"]  # noqa: E731
        rest.until(done, holds=lambda count: count == FLOOD * 1000)
        assert process.memory_info().rss - before < 150 * 2**20
        told = b""
        while b"SLOW_READER" not in told:
            chunk = raw.recv(65536)
            assert chunk, "it ended without a reason"
            told = told[-1000:] + chunk
        assert b"event: error" in told


async def last_message(connection):
    """Read to the end; return what was told last."""
    told = None
    with contextlib.suppress(trio_websocket.ConnectionClosed):
        while True:
            told = await connection.get_message()
    return json.loads(told)
