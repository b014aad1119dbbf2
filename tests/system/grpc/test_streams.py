"""Streams: what there is, then each change; resumed, filtered, cut off where nobody reads."""

import threading
import time

import grpc
import psutil
import pytest

from workmanager.v1 import task_service_pb2 as tasks
from workmanager.v1 import worker_service_pb2 as pb

pytestmark = [pytest.mark.system, pytest.mark.slow]

NOOP = b"def process(event): pass\n"
FAIL = b'def process(event):\n    raise ValueError("no")\n'


def changes(stream):
    """Give the changes of a stream one by one."""
    for response in stream:
        yield from response.changes


def until(found, wanted):
    """Take changes until *wanted* holds for one; returns all of them."""
    seen = []
    for change in found:
        seen.append(change)
        if wanted(change):
            return seen
    raise AssertionError(f"the stream has ended: {seen}")


def is_bookmark(change):
    return change.type == "BOOKMARK"


def is_executor_of(change, name):
    return change.kind == "executor" and change.executor.worker == name


def test_a_worker_is_followed_from_creation_to_its_end(api, make):
    stream = api.workers.WatchWorkers(
        pb.WatchWorkersRequest(kinds=["workers", "executors"]), timeout=make.LIMIT_S
    )
    found = changes(stream)
    until(found, is_bookmark)
    name = api.create()
    seen = until(found, lambda c: c.worker.name == name and c.worker.status.state == "RUNNING")
    assert next(c.type for c in seen if c.worker.name == name) == "ADDED"
    if not any(is_executor_of(change, name) for change in seen):  # one of them came first
        until(found, lambda c: is_executor_of(c, name))
    api.workers.StopWorker(pb.StopWorkerRequest(worker=name))
    until(found, lambda c: c.worker.name == name and c.worker.status.state == "STOPPED")
    api.delete(name)
    gone = until(found, lambda c: c.type == "DELETED" and c.kind == "worker")
    assert gone[-1].worker.name == name
    stream.cancel()


def test_a_stream_begins_with_what_there_is_and_resumes_after_its_token(api, make):
    name = api.create()
    request = pb.WatchWorkersRequest(worker=name)
    stream = api.workers.WatchWorkers(request, timeout=make.LIMIT_S)
    first, mark = until(changes(stream), is_bookmark)
    assert (first.type, first.kind, first.worker.name) == ("ADDED", "worker", name)
    stream.cancel()
    api.workers.PauseWorker(pb.PauseWorkerRequest(worker=name))
    request.resume_token = mark.resume_token
    resumed = api.workers.WatchWorkers(request, timeout=make.LIMIT_S)
    seen = until(changes(resumed), lambda c: c.worker.status.state == "PAUSED")
    assert not any(is_bookmark(change) for change in seen)
    resumed.cancel()


def test_tasks_and_dead_letters_are_followed(api, make):
    retry = {"maximum_attempts": 1}
    name = api.create(FAIL, triggers=[{"topic": "g.dead"}], retry=retry)
    request = tasks.WatchTasksRequest(worker=name, kinds=["tasks", "deadLetters"])
    stream = api.tasks.WatchTasks(request, timeout=make.LIMIT_S)
    found = changes(stream)
    until(found, is_bookmark)
    api.publish("g.dead", make.event(id="1", text_data="[1]"))
    seen = until(found, lambda c: c.kind == "deadLetter")
    assert seen[-1].dead_letter.event.text_data == "[1]"
    states = [c.task.status for c in seen if c.kind == "task"]
    assert states[-1] == "FAILED"
    assert next(c.type for c in seen if c.kind == "task") == "ADDED"
    stream.cancel()


def test_a_token_that_reaches_too_far_back_is_refused(api, make):
    request = pb.WatchWorkersRequest(resume_token="0-0")
    refused = make.refusal(api.workers.WatchWorkers, request)
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.OUT_OF_RANGE,
        "RESUME_TOKEN_EXPIRED",
    )


def test_a_stream_of_an_unknown_worker_or_kind_is_refused(api, make):
    absent = make.refusal(api.workers.WatchWorkers, pb.WatchWorkersRequest(worker="absent"))
    assert absent.reason == "WORKER_NOT_FOUND"
    odd = make.refusal(api.tasks.WatchTasks, tasks.WatchTasksRequest(kinds=["sheep"]))
    assert odd.reason == "INVALID_ARGUMENT"
    lines = make.refusal(api.workers.TailLogs, pb.TailLogsRequest(worker="absent"))
    assert lines.reason == "WORKER_NOT_FOUND"


def test_lines_are_followed_and_resumed(api, make):
    name = api.create()
    api.invoke(name)
    request = pb.TailLogsRequest(worker=name)
    stream = api.workers.TailLogs(request, timeout=make.LIMIT_S)
    first = next(stream).lines[0]
    assert first.text.startswith("seen")
    assert first.worker == name
    api.invoke(name)
    second = next(stream).lines[0]
    assert second.seq > first.seq
    stream.cancel()
    request.since_seq = first.seq
    resumed = api.workers.TailLogs(request, timeout=make.LIMIT_S)
    assert next(resumed).lines[0] == second
    resumed.cancel()


def test_a_client_that_stops_reading_is_cut_off_and_the_service_goes_on(api, make):
    name = api.create(NOOP, triggers=[{"topic": "g.flood"}], inbox={"max_count": 100_000})
    options = [("grpc.http2.bdp_probe", 0)]  # its window stays at 64 KiB
    channel = grpc.insecure_channel(api.target, options=options)
    watch = channel.unary_stream("/workmanager.v1.TaskService/WatchTasks")
    request = tasks.WatchTasksRequest(worker=name).SerializeToString()
    sleeper = watch(request, metadata=api.credentials)
    next(sleeper)
    process = psutil.Process(api.process.pid)
    before = process.memory_info().rss
    slowest_s = 0.0
    for batch in range(20):
        api.publish("g.flood", *(make.event(id=f"{batch}-{n}") for n in range(1000)))
        began = time.perf_counter()
        api.workers.GetWorker(pb.GetWorkerRequest(worker=name))
        slowest_s = max(slowest_s, time.perf_counter() - began)
    api.until(lambda: [line for line in api.lines if "watch_cut_off" in line])
    grown = process.memory_info().rss - before
    print(
        f"\n20,000 tasks, one reader that sleeps: {grown / 2**20:.0f} MiB more, "
        f"slowest unary call {slowest_s * 1e3:.0f} ms"
    )
    assert grown < 150 * 2**20
    with pytest.raises(grpc.RpcError) as caught:
        list(sleeper)
    refused = make.refused(caught.value)
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_READER")
    channel.close()


def test_two_hundred_open_streams_leave_other_calls_alone(api, make):
    """Prints what calls take without and with them; machines differ, so no time is asserted."""
    name = api.create(NOOP, triggers=[{"topic": "g.load"}], inbox={"max_count": 100_000})
    print(f"\nGetWorker and Invoke, p50/p99 in ms: alone {both(api, name)}")
    print(f"with 1,000 events/s: {under_load(api, make, lambda: both(api, name))}")
    channel = grpc.insecure_channel(f"unix:{api.state / 'grpc.sock'}")
    watch = channel.unary_stream("/workmanager.v1.WorkerService/WatchWorkers")
    tail = channel.unary_stream("/workmanager.v1.WorkerService/TailLogs")
    streams = [watch(pb.WatchWorkersRequest().SerializeToString()) for _ in range(200)]
    streams += [tail(pb.TailLogsRequest().SerializeToString()) for _ in range(50)]
    counts = [0] * len(streams)
    readers = [
        threading.Thread(target=read, args=(stream, counts, index))
        for index, stream in enumerate(streams)
    ]
    for reader in readers:
        reader.start()
    api.until(lambda: min(counts[:200]))
    print(f"beside 200 watches and 50 tails: {both(api, name)}")
    told = list(counts)

    def measure():
        found = both(api, name)
        api.until(lambda: all(now > then for now, then in zip(counts[:200], told, strict=False)))
        return found

    print(f"beside them with 1,000 events/s: {under_load(api, make, measure)}")
    assert all(stream.is_active() for stream in streams)
    for stream in streams:
        stream.cancel()
    for reader in readers:
        reader.join(make.LIMIT_S)
    channel.close()


def read(stream, counts, index):
    try:
        for _ in stream:
            counts[index] += 1
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.CANCELLED  # noqa: PT017


def both(api, name):
    get = pb.GetWorkerRequest(worker=name)
    return (
        latencies(lambda: api.workers.GetWorker(get)),
        latencies(lambda: api.invoke(name)),
    )


def latencies(call, *, count=200):
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    times.sort()
    return f"{times[count // 2] * 1e3:.1f}/{times[count * 99 // 100] * 1e3:.1f}"


def under_load(api, make, measure):
    """Publish 1,000 events a second while *measure* runs."""
    done = threading.Event()

    def flow():
        while not done.wait(0.1):
            api.publish("g.load", *(make.event() for _ in range(100)))

    publisher = threading.Thread(target=flow)
    publisher.start()
    try:
        return measure()
    finally:
        done.set()
        publisher.join()
