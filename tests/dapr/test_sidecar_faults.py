"""The faults that the fake sidecar injects when it is told to."""

from __future__ import annotations

import contextlib
import queue
import uuid

import grpc
import pytest
from dapr_client import Client, event, refused
from sidecars import fake_sidecar, patience

SHORT_S = 0.5  # nothing may come within it


class TestFaults:
    """The fake's own faults."""

    @pytest.fixture(autouse=True)
    def _heal(self, fake_only, place):
        yield
        place.heal()

    def test_refused_call(self, place, client, topic):
        place.fault("PublishEvent", code="UNAVAILABLE", times=1, match=topic)
        refused(grpc.StatusCode.UNAVAILABLE, client.send, topic, event("e1"))
        client.send(topic, event("e1"))

    def test_lost_answer(self, place, client, topic):
        place.fault("SaveState", kind="lose", times=1)
        refused(grpc.StatusCode.UNAVAILABLE, client.save, topic, b"done")
        assert client.get(topic)[0] == b"done"

    def test_failed_entries(self, place, client, topic):
        place.fault("BulkPublishEvent", kind="entries", match="bad", times=1)
        sent = {"1": event("good"), "2": event("bad")}
        assert client.bulk(topic, sent) == ["2"]
        assert client.bulk(topic, sent) == []

    def test_dropped_stream(self, place, client, topic):
        stream = client.subscribe(topic)
        place.control("POST", "/streams", {"do": "drop", "topic": topic, "code": "INTERNAL"})
        assert stream.ended.wait(5)
        assert stream.code == grpc.StatusCode.INTERNAL

    def test_forgotten_subscription_is_deaf(self, place, client, topic):
        stream = client.subscribe(topic)
        place.control("POST", "/streams", {"do": "forget", "topic": topic})
        assert ("pubsub", topic) not in client.subscriptions()
        client.send(topic, event("e1"))
        with pytest.raises(queue.Empty):
            stream.next(SHORT_S)

    def test_paused_broker(self, place, client, topic):
        stream = client.subscribe(topic)
        place.control("POST", "/streams", {"do": "pause"})
        client.send(topic, event("e1"))
        with pytest.raises(queue.Empty):
            stream.next(SHORT_S)
        place.control("POST", "/streams", {"do": "resume"})
        assert stream.take().id == "e1"

    def test_duplicate_delivery(self, place, client, topic):
        stream = client.subscribe(topic)
        place.control("POST", "/duplicate", {"pubsub": "pubsub", "times": 1})
        client.send(topic, event("e1"))
        assert [stream.take().id, stream.take().id] == ["e1", "e1"]

    def test_answers_are_kept_by_id(self, place, client, topic):
        stream = client.subscribe(topic)
        event_id = str(uuid.uuid4())
        client.send(topic, event(event_id))
        stream.take()
        stream.answer("stray")
        for _ in patience(5):
            told = place.told()
            if "stray" in told["stray_answers"]:
                break
        assert told["answers"][event_id] == ["SUCCESS"]
        assert told["deliveries"][event_id] == 1

    def test_second_sidecar_shares_redis(self, place, client, topic, redis_only):
        other = Client(place.another().grpc_port)
        client.save(topic, b"1")
        assert other.get(topic)[0] == b"1"
        assert client.lock(topic, "me")
        assert not other.lock(topic, "you")
        one, two = client.subscribe(topic), other.subscribe(topic)
        client.send(topic, event("e1"))
        client.send(topic, event("e2"))
        got = []
        for stream in (one, two, one, two):
            with contextlib.suppress(queue.Empty):
                got.append(stream.take(SHORT_S).id)
        assert sorted(got) == ["e1", "e2"]
        other.close()


def test_shuffled_delivery():
    with fake_sidecar("app", "--shuffle") as place:
        client = Client(place.grpc_port)
        for number in range(50):
            client.send("t", event(f"e{number}"))
        stream = client.subscribe("t")
        got = [stream.take().id for _ in range(50)]
        client.close()
    assert got != [f"e{number}" for number in range(50)]
    assert set(got) == {f"e{number}" for number in range(50)}
