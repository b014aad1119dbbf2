"""What WorkManager relies on in a Dapr sidecar, held against the fake and against a real daprd.

The real one runs when DAPRD=/path/to/daprd is set, over a redis-server and over the in-memory
components. Where the two differ, the fake is wrong.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import queue
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from dapr.proto.runtime.v1 import metadata_pb2
from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventResponse
from dapr_client import CLOUD_EVENT, Client, event, refused
from google.protobuf.json_format import MessageToDict
from sidecars import patience

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SHORT_S = 0.5  # nothing may come within it


class TestHealthAndMetadata:
    @pytest.mark.parametrize("path", ["/v1.0/healthz", "/v1.0/healthz/outbound"])
    def test_health_answers_204(self, place, path):
        connection = http.client.HTTPConnection("127.0.0.1", place.http_port, timeout=5)
        connection.request("GET", path)
        assert connection.getresponse().status == http.HTTPStatus.NO_CONTENT
        connection.close()

    def test_metadata_names_the_components(self, client, is_redis):
        told = client.told()
        kinds = {component.name: component.type for component in told.registered_components}
        assert told.id == "app"
        assert told.runtime_version
        if is_redis:
            assert kinds == {
                "pubsub": "pubsub.redis",
                "statestore": "state.redis",
                "lockstore": "lock.redis",
            }
        else:
            assert kinds == {"pubsub": "pubsub.in-memory", "statestore": "state.in-memory"}
        assert all(component.version == "v1" for component in told.registered_components)
        capabilities = {c.name: set(c.capabilities) for c in told.registered_components}
        assert {"ETAG", "TTL", "TRANSACTIONAL"} <= capabilities["statestore"]

    def test_subscriptions_follow_the_streams(self, client, topic):
        stream = client.subscribe(topic, dead_letter_topic="dead", metadata={"a": "b"})
        [known] = [s for s in client.told().subscriptions if s.topic == topic]
        assert known.type == metadata_pb2.STREAMING
        assert known.dead_letter_topic == "dead"
        assert known.metadata == {"a": "b"}
        assert [rule.path for rule in known.rules.rules] == ["/"]
        stream.close()
        for _ in patience(10):
            if ("pubsub", topic) not in client.subscriptions():
                return
        raise AssertionError("the subscription is still listed")

    def test_unknown_pubsub_ends_the_stream(self, client):
        stream = client.subscribe("t", pubsub="nope")
        assert stream.ended.wait(5)
        assert stream.code == grpc.StatusCode.INVALID_ARGUMENT


class TestEnvelope:
    def test_cloud_event_keeps_its_attributes(self, client, topic):
        stream = client.subscribe(topic)
        client.send(
            topic,
            event(
                "e1",
                subject="sub",
                time="2020-01-02T03:04:05.678Z",
                dataschema="http://x/y",
                custom="é",
                number=7,
                topic="other",
                pubsubname="other",
                traceid=PARENT,
                traceparent=PARENT,
                tracestate="a=b",
            ),
        )
        got = stream.take()
        assert (got.id, got.source, got.type, got.spec_version) == ("e1", "test", "t", "1.0")
        assert (got.topic, got.pubsub_name, got.path) == (topic, "pubsub", "/")
        assert got.data_content_type == "application/json"
        assert got.data == b'{"n":1}'
        assert MessageToDict(got.extensions) == {
            "subject": "sub",
            "time": "2020-01-02T03:04:05.678Z",
            "dataschema": "http://x/y",
            "custom": "é",
            "number": 7.0,
            "topic": topic,
            "pubsubname": "pubsub",
            "traceid": PARENT,
            "traceparent": PARENT,
            "tracestate": "a=b",
        }

    def test_traceparent_without_traceid_is_overwritten(self, client, topic):
        stream = client.subscribe(topic)
        client.send(topic, event("e1", traceparent=PARENT))
        assert stream.take().extensions["traceparent"] != PARENT

    def test_missing_attributes_are_filled_but_not_the_id(self, client, topic):
        stream = client.subscribe(topic)
        client.publish(topic, '{"data": 1, "datacontenttype": "application/json"}', CLOUD_EVENT)
        got = stream.take()
        assert (got.id, got.source, got.type) == ("", "Dapr", "com.dapr.event.sent")
        assert got.extensions["time"]

    @pytest.mark.parametrize(
        ("sent", "arrives"),
        [
            ("9007199254740993", b"9007199254740992"),
            ("12345678901234567890123", b"1.2345678901234568e+22"),
            ("100000000000000000000", b"100000000000000000000"),
            ("1.50", b"1.5"),
            ("7.0", b"7"),
            ("1e-7", b"1e-7"),
            ("0.000001", b"0.000001"),
            ("-0.0", b"-0"),
            (
                '{"b": 1, "a": "<&>\\u2028\\u00e9"}',
                b'{"a":"\\u003c\\u0026\\u003e\\u2028\xc3\xa9","b":1}',
            ),
            ('"tab\\t\\u0001\\b"', b'"tab\\t\\u0001\\b"'),
            ("null", b""),
            ("[true, false]", b"[true,false]"),
        ],
    )
    def test_json_goes_through_float64(self, client, topic, sent, arrives):
        name = f"json-{uuid.uuid4()}"
        stream = client.subscribe(name)
        text = '{"id":"1","source":"s","type":"t","specversion":"1.0",'
        text += f'"datacontenttype":"application/json","data":{sent}}}'
        client.publish(name, text, CLOUD_EVENT)
        assert stream.take().data == arrives

    @pytest.mark.parametrize(
        ("content_type", "arrives"),
        [
            ("application/json", b'"x"'),
            ("application/json; charset=utf-8", b'"x"'),
            ("Text/Plain", b"x"),
            ("application/xml", b"x"),
            ("application/cloudevents+json", b'"x"'),
            ("application/vnd.x+json", b""),
            ("application/octet-stream", b""),
            (None, b""),
        ],
    )
    def test_data_of_unknown_types_is_lost(self, client, content_type, arrives):
        name = f"type-{uuid.uuid4()}"
        stream = client.subscribe(name)
        sent = event("e1", datacontenttype=content_type, data="x")
        if content_type is None:
            del sent["datacontenttype"]
        client.send(name, sent)
        assert stream.take().data == arrives

    def test_base64_data_arrives_whatever_the_type(self, client, topic):
        stream = client.subscribe(topic)
        sent = event("e1", datacontenttype="application/vnd.x+json")
        del sent["data"]
        sent["data_base64"] = base64.b64encode(bytes(range(256))).decode()
        client.send(topic, sent)
        assert stream.take().data == bytes(range(256))

    def test_plain_publish_is_wrapped(self, client, topic):
        stream = client.subscribe(topic)
        client.publish(topic, '{"x": 1}', "application/json")
        got = stream.take()
        assert (got.source, got.type, got.data) == ("app", "com.dapr.event.sent", b'{"x":1}')
        client.publish(topic, b"\xff\x00", "application/octet-stream")
        assert stream.take().data == b"\xff\x00"
        client.publish(topic, "plain")
        got = stream.take()
        assert (got.data_content_type, got.data) == ("text/plain", b"plain")

    def test_metadata_overrides_the_envelope(self, client, topic):
        stream = client.subscribe(topic)
        overrides = {
            "cloudevent.id": "mine",
            "cloudevent.source": "me",
            "cloudevent.type": "mine.t",
        }
        client.publish(topic, "x", "text/plain", **overrides, **{"cloudevent.subject": "s"})
        got = stream.take()
        assert (got.id, got.source, got.type) == ("mine", "me", "mine.t")
        assert got.extensions["subject"] == "s"

    def test_expired_events_are_dropped(self, client, topic):
        stream = client.subscribe(topic)
        client.send(topic, event("old", expiration="2020-01-01T00:00:00Z"))
        client.send(topic, event("new"))
        assert stream.take().id == "new"

    def test_raw_payload_gets_a_random_id(self, client, topic):
        stream = client.subscribe(topic, metadata={"rawPayload": "true"})
        client.publish(topic, b"\x00raw", rawPayload="true")
        got = stream.take()
        assert got.data == b"\x00raw"
        assert (got.source, got.data_content_type) == ("Dapr", "application/octet-stream")
        assert uuid.UUID(got.id)

    @pytest.mark.parametrize("body", ["no json", "[1]", ""])
    def test_broken_cloud_event_is_refused(self, client, topic, body):
        refused(grpc.StatusCode.INVALID_ARGUMENT, client.publish, topic, body, CLOUD_EVENT)

    def test_publish_names_what_is_missing(self, client):
        refused(grpc.StatusCode.INVALID_ARGUMENT, client.publish, "", "x")

    def test_message_over_four_mebibytes_is_refused(self, client, topic):
        refused(grpc.StatusCode.RESOURCE_EXHAUSTED, client.publish, topic, b"x" * (4 << 20))


class TestBulkPublish:
    def test_every_entry_arrives(self, client, topic):
        stream = client.subscribe(topic)
        with ThreadPoolExecutor() as pool:  # in memory it ends when the last but one is handled
            sending = pool.submit(client.bulk, topic, {str(n): event(f"e{n}") for n in range(20)})
            got = sorted(stream.take().id for _ in range(20))
            assert sending.result(10) == []
        assert got == sorted(f"e{n}" for n in range(20))

    def test_entries_need_ids(self, client, topic):
        refused(grpc.StatusCode.INVALID_ARGUMENT, client.bulk, topic, {"": event("1")})


class TestStreams:
    def test_success_is_not_delivered_again(self, client, topic, redis_only):
        stream = client.subscribe(topic)
        client.send(topic, event("e1"))
        stream.take()
        with pytest.raises(queue.Empty):
            stream.next(2)

    def test_at_most_ten_deliveries_wait_on_redis(self, place, topic, redis_only):
        client = Client(place.grpc_port)
        stream = client.subscribe(topic)
        for number in range(12):
            client.send(topic, event(f"e{number}"))
        waiting = [stream.next().id for _ in range(10)]
        with pytest.raises(queue.Empty):
            stream.next(SHORT_S)
        stream.answer(waiting[0])
        stream.take()
        for event_id in waiting[1:]:
            stream.answer(event_id)
        stream.take()
        client.close()

    def test_one_delivery_waits_in_memory(self, client, topic, is_redis):
        if is_redis:
            pytest.skip("Redis has slots")
        stream = client.subscribe(topic)
        client.send(topic, event("e1"))
        client_two = client.stub.PublishEvent.future
        second = client_two(publication(topic, "e2"))
        third = client_two(publication(topic, "e3"))
        first = stream.next()
        with pytest.raises(queue.Empty):
            stream.next(SHORT_S)
        stream.answer(first.id)
        rest = {stream.take().id, stream.take().id}
        assert {first.id, *rest} == {"e1", "e2", "e3"}
        second.result(5)
        third.result(5)

    def test_two_streams_compete_on_redis_and_copy_in_memory(self, client, topic, is_redis):
        one, two = client.subscribe(topic), client.subscribe(topic)
        client.send(topic, event("e1"))
        got = []
        for stream in (one, two):
            with contextlib.suppress(queue.Empty):
                got.append(stream.take(2).id)
        assert got == (["e1"] if is_redis else ["e1", "e1"])

    def test_retry_without_a_policy_loses_the_event(self, client, topic):
        stream = client.subscribe(topic)
        client.send(topic, event("e1"))
        stream.answer(stream.next().id, TopicEventResponse.RETRY)
        with pytest.raises(queue.Empty):
            stream.next(2)

    @pytest.mark.parametrize("status", [TopicEventResponse.RETRY, TopicEventResponse.DROP])
    def test_dead_letter_topic_gets_what_fails(self, client, status):
        name = f"dead-{uuid.uuid4()}"
        dead = client.subscribe(f"{name}-letters")
        stream = client.subscribe(name, dead_letter_topic=f"{name}-letters")
        client.send(name, event("e1"))
        stream.answer(stream.next().id, status)
        assert dead.take().id == "e1"

    def test_messages_from_before_the_first_subscription_come(self, client, topic, redis_only):
        client.send(topic, event("early"))
        assert client.subscribe(topic).take().id == "early"

    def test_what_waits_unsubscribed_comes_with_the_next_stream(self, client, topic, redis_only):
        client.subscribe(topic).close()
        for _ in patience(10):
            if ("pubsub", topic) not in client.subscriptions():
                break
        client.send(topic, event("meanwhile"))
        assert client.subscribe(topic).take().id == "meanwhile"

    def test_unanswered_event_comes_again_with_its_id(self, client, topic, redis_only):
        stream = client.subscribe(topic)
        client.send(topic, event("slow"))
        assert stream.next().id == "slow"
        assert stream.next().id == "slow"
        stream.answer("slow")

    @pytest.mark.parametrize("has_letters", [True, False])
    def test_client_killed_with_several_streams(self, place, redis_only, has_letters):
        """All is lost that waits on the second of them, unless it has a dead letter topic."""
        name = f"killed-{uuid.uuid4()}"
        letters = {"dead_letter_topic": f"{name}-letters"} if has_letters else {}
        client = Client(place.grpc_port)
        streams = [client.subscribe(f"{name}-{n}", **letters) for n in range(6)]
        for number in range(6):
            client.send(f"{name}-{number}", event(f"e{number}"))
        assert {stream.next().id for stream in streams} == {f"e{n}" for n in range(6)}
        client.close()
        client = Client(place.grpc_port)
        again = [client.subscribe(f"{name}-{n}") for n in range(6)]
        again += [client.subscribe(f"{name}-letters")]
        back: set[str] = set()
        for _ in patience(4):
            for stream in again:
                with contextlib.suppress(queue.Empty):
                    back.add(stream.take(0.01).id)
        client.close()
        if has_letters:
            assert back == {f"e{n}" for n in range(6)}
        else:
            assert back < {f"e{n}" for n in range(6)}

    def test_answer_of_an_unknown_id_changes_nothing(self, client, topic):
        stream = client.subscribe(topic)
        stream.answer("never seen")
        client.send(topic, event("e1"))
        assert stream.take().id == "e1"

    def test_second_initial_request_ends_the_stream(self, client, topic):
        stream = client.subscribe(topic)
        stream._out.put(stream_request(topic))
        assert stream.ended.wait(5)
        assert stream.code == grpc.StatusCode.UNKNOWN

    def test_sidecar_killed_ends_the_stream_and_comes_back(self, place, is_redis):
        topic = f"kill-{uuid.uuid4()}"
        client = Client(place.grpc_port)
        stream = client.subscribe(topic)
        place.kill()
        assert stream.ended.wait(10)
        assert stream.code == grpc.StatusCode.UNAVAILABLE
        client.close()
        place.start()
        client = Client(place.grpc_port)
        again = client.subscribe(topic)
        client.send(topic, event("after"))
        assert again.take().id == "after"
        client.close()


def publication(topic, event_id):
    from dapr.proto.runtime.v1 import pubsub_pb2

    return pubsub_pb2.PublishEventRequest(
        pubsub_name="pubsub",
        topic=topic,
        data=f'{{"id": "{event_id}", "datacontenttype": "text/plain", "data": "x"}}'.encode(),
        data_content_type=CLOUD_EVENT,
    )


def stream_request(topic):
    from dapr.proto.runtime.v1 import pubsub_pb2

    return pubsub_pb2.SubscribeTopicEventsRequestAlpha1(
        initial_request=pubsub_pb2.SubscribeTopicEventsRequestInitialAlpha1(
            pubsub_name="pubsub", topic=topic
        )
    )
