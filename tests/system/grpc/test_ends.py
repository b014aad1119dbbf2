"""How calls end early: deadlines, cancellation, and the end of the service."""

import threading

import grpc
import pytest

from workmanager.v1 import event_service_pb2 as events
from workmanager.v1 import worker_service_pb2 as pb

pytestmark = [pytest.mark.system, pytest.mark.slow]

SLOW_START = b"""
import time
def start(context):
    time.sleep(30)
def process(event):
    pass
"""
SLOW = b"import time\ndef process(event):\n    time.sleep(event.data)\n"


def slow_create(make):
    manifest = {"metadata": {"name": make.name()}, "spec": {"code": {"content": SLOW_START}}}
    return manifest["metadata"]["name"], pb.CreateWorkerRequest(manifest=manifest)


def is_gone(api, name):
    """Whether there is no trace of the worker: its creation was called off."""
    try:
        api.workers.GetWorker(pb.GetWorkerRequest(worker=name))
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.NOT_FOUND
    return False


def test_a_deadline_ends_the_operation_itself(api, make):
    name, request = slow_create(make)
    with pytest.raises(grpc.RpcError) as caught:
        api.workers.CreateWorker(request, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    api.until(lambda: is_gone(api, name))


def test_cancelling_a_call_ends_the_operation_itself(api, make):
    name, request = slow_create(make)
    call = api.workers.CreateWorker.future(request)
    starting = pb.ListWorkersRequest(filter=f"name={name}")
    api.until(lambda: api.workers.ListWorkers(starting).items)
    call.cancel()
    assert call.cancelled()
    api.until(lambda: is_gone(api, name))
    api.until(lambda: not api.workers.ListWorkers(starting).items)


def test_a_client_that_goes_ends_its_calls(api, make):
    name, request = slow_create(make)
    channel = grpc.insecure_channel(f"unix:{api.state / 'grpc.sock'}")
    call = channel.unary_unary("/workmanager.v1.WorkerService/CreateWorker")
    answer = call.future(request.SerializeToString())
    starting = pb.ListWorkersRequest(filter=f"name={name}")
    api.until(lambda: api.workers.ListWorkers(starting).items)
    channel.close()
    assert answer.code() is grpc.StatusCode.CANCELLED
    api.until(lambda: is_gone(api, name))


def test_an_invoke_that_takes_too_long_is_told_by_whose_clock(api, make):
    name = api.create(SLOW)
    event = make.event(text_data="1.5")
    request = events.InvokeRequest(worker=name, event=event, timeout_s=0.3)
    refused = make.refusal(api.events.Invoke, request)
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "TASK_TIMEOUT",
    )
    assert refused.info.metadata["task"]
    with pytest.raises(grpc.RpcError) as caught:
        api.events.Invoke(events.InvokeRequest(worker=name, event=event), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_stop_ends_streams_at_once_and_lets_calls_finish(make, tmp_path):
    with make.serving(tmp_path / "state") as api:
        name = api.create(SLOW)
        stream = api.workers.WatchWorkers(pb.WatchWorkersRequest())
        next(stream)
        answer = api.events.Invoke.future(
            events.InvokeRequest(worker=name, event=make.event(text_data="0.6"))
        )
        in_flight = lambda: api.workers.GetWorker(pb.GetWorkerRequest(worker=name))  # noqa: E731
        api.until(in_flight, holds=lambda worker: worker.status.in_flight)
        api.process.terminate()
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        refused = make.refused(caught.value)
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert answer.result(make.LIMIT_S).status == "COMPLETED"
        assert api.process.wait(make.LIMIT_S) == 0


def test_a_stop_while_many_streams_are_open_takes_no_longer(make, tmp_path):
    with make.serving(tmp_path / "state") as api:
        streams = [api.workers.WatchWorkers(pb.WatchWorkersRequest()) for _ in range(50)]
        for stream in streams:
            next(stream)
        api.process.terminate()
        ended = threading.Event()
        threading.Thread(target=lambda: (api.process.wait(), ended.set())).start()
        assert ended.wait(8)
        for stream in streams:
            stream.cancel()
