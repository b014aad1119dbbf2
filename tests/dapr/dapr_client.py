"""A small client of a sidecar for tests: calls, and a stream that answers what it is told to."""

from __future__ import annotations

import json
import queue
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import Etag, StateItem, StateOptions
from dapr.proto.runtime.v1 import lock_pb2, metadata_pb2, pubsub_pb2, state_pb2
from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventRequest, TopicEventResponse
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_WRITE = StateOptions.CONCURRENCY_FIRST_WRITE
LAST_WRITE = StateOptions.CONCURRENCY_LAST_WRITE
CLOUD_EVENT = "application/cloudevents+json"
WAIT_S = 20.0


class Stream:
    """One SubscribeTopicEventsAlpha1 call; deliveries wait in `events` until answered."""

    def __init__(self, stub: DaprStub, pubsub: str, topic: str, **initial: Any) -> None:
        self.events: queue.SimpleQueue[TopicEventRequest] = queue.SimpleQueue()
        self.ended = threading.Event()
        self.code: grpc.StatusCode | None = None
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._started = threading.Event()
        asked = pubsub_pb2.SubscribeTopicEventsRequestInitialAlpha1(
            pubsub_name=pubsub, topic=topic, **initial
        )
        self._out.put(pubsub_pb2.SubscribeTopicEventsRequestAlpha1(initial_request=asked))
        self._call = stub.SubscribeTopicEventsAlpha1(self._requests())
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._started.wait(WAIT_S)

    def next(self, timeout_s: float = WAIT_S) -> TopicEventRequest:
        return self.events.get(timeout=timeout_s)

    def answer(self, event_id: str, status: int = TopicEventResponse.SUCCESS) -> None:
        processed = pubsub_pb2.SubscribeTopicEventsRequestProcessedAlpha1(
            id=event_id, status=TopicEventResponse(status=status)
        )
        self._out.put(pubsub_pb2.SubscribeTopicEventsRequestAlpha1(event_processed=processed))

    def take(self, timeout_s: float = WAIT_S) -> TopicEventRequest:
        """Take the next delivery and answer SUCCESS."""
        event = self.next(timeout_s)
        self.answer(event.id)
        return event

    def close(self) -> None:
        self._call.cancel()
        self._out.put(None)
        self._reader.join(WAIT_S)

    def _requests(self) -> Iterator[Any]:
        while (request := self._out.get()) is not None:
            yield request

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._started.set()
                if answer.HasField("event_message"):
                    self.events.put(answer.event_message)
        except grpc.RpcError as error:
            self.code = error.code()
        finally:
            self._started.set()
            self.ended.set()
            self._out.put(None)


class Client:
    """Calls to one sidecar, with the names of the components that the fixtures use."""

    def __init__(self, grpc_port: int, token: str = "") -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
        self.stub = DaprStub(self._channel)
        self.metadata = (("dapr-api-token", token),) if token else None
        self._streams: list[Stream] = []

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        self._channel.close()

    def subscribe(self, topic: str, pubsub: str = "pubsub", **initial: Any) -> Stream:
        stream = Stream(self.stub, pubsub, topic, **initial)
        self._streams.append(stream)
        return stream

    def publish(
        self, topic: str, data: bytes | str, content_type: str = "", **metadata: str
    ) -> None:
        raw = data.encode() if isinstance(data, str) else data
        request = pubsub_pb2.PublishEventRequest(
            pubsub_name="pubsub",
            topic=topic,
            data=raw,
            data_content_type=content_type,
            metadata=metadata,
        )
        self.stub.PublishEvent(request, timeout=WAIT_S, metadata=self.metadata)

    def send(self, topic: str, event: dict[str, Any]) -> None:
        """Publish a whole CloudEvent."""
        self.publish(topic, json.dumps(event), CLOUD_EVENT)

    def bulk(self, topic: str, events: dict[str, dict[str, Any]]) -> list[str]:
        """Publish CloudEvents by entry id; return the ids of the failed entries."""
        request = pubsub_pb2.BulkPublishRequest(pubsub_name="pubsub", topic=topic)
        for entry_id, event in events.items():
            request.entries.add(
                entry_id=entry_id, event=json.dumps(event).encode(), content_type=CLOUD_EVENT
            )
        answer = self.stub.BulkPublishEvent(request, timeout=WAIT_S)
        return [entry.entry_id for entry in answer.failedEntries]

    def save(self, key: str, value: bytes, etag: str = "", mode: int = 0, **metadata: str) -> None:
        item = StateItem(
            key=key, value=value, metadata=metadata, options=StateOptions(concurrency=mode)
        )
        if etag:
            item.etag.CopyFrom(Etag(value=etag))
        request = state_pb2.SaveStateRequest(store_name="statestore", states=[item])
        self.stub.SaveState(request, timeout=WAIT_S)

    def get(self, key: str) -> tuple[bytes, str]:
        request = state_pb2.GetStateRequest(store_name="statestore", key=key)
        answer = self.stub.GetState(request, timeout=WAIT_S)
        return answer.data, answer.etag

    def get_bulk(self, *keys: str) -> dict[str, bytes]:
        request = state_pb2.GetBulkStateRequest(store_name="statestore", keys=keys)
        answer = self.stub.GetBulkState(request, timeout=WAIT_S)
        return {item.key: item.data for item in answer.items}

    def delete(self, key: str, etag: str = "") -> None:
        request = state_pb2.DeleteStateRequest(store_name="statestore", key=key)
        if etag:
            request.etag.CopyFrom(Etag(value=etag))
        self.stub.DeleteState(request, timeout=WAIT_S)

    def lock(self, resource: str, owner: str, expiry_s: int = 60) -> bool:
        request = lock_pb2.TryLockRequest(
            store_name="lockstore",
            resource_id=resource,
            lock_owner=owner,
            expiry_in_seconds=expiry_s,
        )
        return bool(self.stub.TryLockAlpha1(request, timeout=WAIT_S).success)

    def unlock(self, resource: str, owner: str) -> int:
        request = lock_pb2.UnlockRequest(
            store_name="lockstore", resource_id=resource, lock_owner=owner
        )
        return int(self.stub.UnlockAlpha1(request, timeout=WAIT_S).status)

    def told(self) -> Any:
        return self.stub.GetMetadata(metadata_pb2.GetMetadataRequest(), timeout=WAIT_S)

    def subscriptions(self) -> list[tuple[str, str]]:
        return sorted((s.pubsub_name, s.topic) for s in self.told().subscriptions)


def event(event_id: str, **more: Any) -> dict[str, Any]:
    base = {"id": event_id, "source": "test", "type": "t", "specversion": "1.0"}
    return {**base, "datacontenttype": "application/json", "data": {"n": 1}, **more}


def refused(code: grpc.StatusCode, call: Any, *args: Any, **options: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **options)
    assert caught.value.code() == code
