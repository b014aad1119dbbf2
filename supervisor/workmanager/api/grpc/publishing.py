"""The rpcs about events: publish to a topic, invoke one worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from workmanager.api.grpc.events import read_message, read_messages
from workmanager.api.grpc.rpc import Calls, Work
from workmanager.api.protocol import InvokeMode
from workmanager.errors import Fault, InvalidArgumentError
from workmanager.v1 import event_service_pb2 as pb

if TYPE_CHECKING:
    from workmanager.model.resources import InvokeResult, PublishResult

DEFAULT_INVOKE_S = 30.0
MAX_INVOKE_S = 3600.0

calls = Calls(pb.DESCRIPTOR.services_by_name["EventService"])


@calls.unary(kind="events")
def publish(request: pb.PublishRequest) -> Work[PublishResult]:
    """Publish one event."""
    event = read_message(request.event)
    return lambda service: service.publish(request.topic, [event])


@calls.unary(kind="events")
def publish_batch(request: pb.PublishBatchRequest) -> Work[PublishResult]:
    """Publish events together."""
    events = read_messages(request.events)
    return lambda service: service.publish(request.topic, events)


@calls.unary(kind="events", keyed=True)
def invoke(request: pb.InvokeRequest) -> Work[InvokeResult]:
    """Hand one event to one worker."""
    event = read_message(request.event)
    mode = _mode(request.mode if request.HasField("mode") else "sync")
    timeout_s = request.timeout_s if request.HasField("timeout_s") else DEFAULT_INVOKE_S
    if not 0 < timeout_s <= MAX_INVOKE_S:
        raise _out_of_bounds("timeoutS", f"must be more than 0 and at most {MAX_INVOKE_S:g}")
    return lambda service: service.invoke(
        request.worker, event, mode=mode, version=request.version or None, timeout_s=timeout_s
    )


def _mode(word: str) -> InvokeMode:
    modes: tuple[InvokeMode, ...] = get_args(InvokeMode)
    for mode in modes:
        if word == mode:
            return mode
    raise _out_of_bounds("mode", f"must be one of {', '.join(modes)}")


def _out_of_bounds(field: str, detail: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{field} {detail}", faults=[Fault(field, detail)])
