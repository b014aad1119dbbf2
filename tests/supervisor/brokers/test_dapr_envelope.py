"""What becomes of an event on its way through a sidecar, by the fake's rendering of Dapr's code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.brokers.dapr.envelope import Finding, from_request, origin_of, to_publish
from workmanager.model.event import Event, validate_attributes

sys.path.insert(0, str(Path(__file__).parents[2] / "dapr"))

import fake_envelope as dapr

BASE = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NO_SPAN = f"00-{'0' * 32}-{'0' * 16}-00"  # what Dapr puts in where nothing is traced


def request(message, *, raw=True):
    """What a stream carries for the bytes that lie in a topic."""
    made = dapr.raw_event(message, "topic", "pubsub") if raw else dapr.parsed(message)
    return dapr.request_of(made, topic="topic", pubsub="pubsub")


def published(data, content_type="", **metadata):
    """What lies in a topic after somebody's PublishEvent."""
    asked = dapr.Publication("pubsub", "topic", data, content_type, metadata)
    return dapr.envelope_of(asked, app_id="other", trace=NO_SPAN)


def made(data=None, **attributes):
    return Event({**BASE, **attributes}, data)


# -- our own events ------------------------------------------------------------------------------

DATA = {
    "big integers": (b'{"n": 9007199254740993, "m": [18446744073709551615]}', "application/json"),
    "order and escapes": (b'{"b": "<\\u00e9>", "a": 1.0, "c": 1e400}', "application/json"),
    "space around": (b' {"a": 1}\n', "application/json"),
    "no JSON after all": (b"{broken", "application/json"),
    "bytes": (bytes(range(256)), "application/octet-stream"),
    "unknown type": (b'{"a": 1}', "application/vnd.x+json"),
    "text": ("a\n\u2028\U0001f600".encode(), "text/plain; charset=utf-8"),
    "text that is none": (b"\xff\xfe", "text/plain"),
    "xml": (b"<a>&amp;</a>", "application/xml"),
    "empty": (b"", "application/x"),
    "null": (b"null", "application/json"),
    "none": (None, "application/json"),
}


@pytest.mark.parametrize("case", DATA)
@pytest.mark.parametrize("typed", [True, False])
def test_event_of_ours_comes_back_as_it_is(case, typed):
    data, content_type = DATA[case]
    sent = made(
        data,
        subject="s/\u00e9",
        traceparent=TRACE,
        flag=True,
        number=-5,
        topic="another",
        **({"datacontenttype": content_type} if typed else {}),
    )
    came = from_request(request(to_publish(sent)))
    assert came.event == sent
    assert (came.findings, came.error) == ((), None)


@pytest.mark.parametrize("case", ["big integers", "bytes", "unknown type", "text", "xml"])
def test_event_of_ours_has_its_data_for_other_subscribers_too(case):
    """Those get Dapr's envelope, which carries inline data of a few types only."""
    data, content_type = DATA[case]
    message = to_publish(made(data, datacontenttype=content_type))
    seen = request(message, raw=False).data
    assert seen == data if case != "big integers" else json.loads(seen).keys() == {"n", "m"}


def test_json_stands_inline_as_other_subscribers_expect_it():
    message = json.loads(to_publish(made(b'{"total": 3}', datacontenttype="application/json")))
    assert message["data"] == {"total": 3}


names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda name: name not in (*BASE, "data", "datacontenttype", "time", "expirytime", "expiration",
                              "subject", "traceid", "traceparent", "topic", "pubsubname")
)  # fmt: skip
texts = st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=20)
values = st.one_of(texts, st.booleans(), st.integers(-(2**31), 2**31 - 1))
types = st.sampled_from(["application/json", "text/plain", "application/x", "a/b+json", ""])


@given(st.dictionaries(names, values, max_size=4), st.none() | st.binary(max_size=40), types)
def test_any_event_of_ours_comes_back_as_it_is(extensions, data, content_type):
    sent = made(data, **extensions, **({"datacontenttype": content_type} if content_type else {}))
    assert validate_attributes(sent.attributes) == []
    assert from_request(request(to_publish(sent))).event == sent


# -- events that others published through Dapr ---------------------------------------------------


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b'{"n":9007199254740993}', "application/json"),
        (bytes(range(256)), "application/octet-stream"),
        (b'{"a":1}', "application/vnd.x+json"),
        (b"words", "text/plain"),
        (b"words", "image/x"),
    ],
)
def test_data_of_others_arrive(data, content_type):
    came = from_request(request(published(data, content_type)))
    assert came.event.data == data
    assert came.event.attributes["datacontenttype"] == content_type
    assert (came.event.source, came.event.type) == ("other", "com.dapr.event.sent")
    assert came.findings == ()
    assert not {"topic", "pubsubname", "traceid", "tracestate"} & came.event.attributes.keys()


def test_attributes_of_others_arrive():
    sent = {
        **BASE,
        "subject": "x",
        "tenant": 7,
        "ok": True,
        "traceparent": TRACE,
        "traceid": "mine",
    }
    message = published(json.dumps(sent).encode(), "application/cloudevents+json")
    came = from_request(request(message)).event
    assert came.attributes | sent == came.attributes


def test_time_to_live_of_dapr_is_kept_as_ours():
    came = from_request(request(published(b"{}", "application/json", ttlInSeconds="60"))).event
    assert came.attributes["expirytime"] == came.attributes["expiration"]


def test_values_that_cloudevents_does_not_know_are_fitted_and_told():
    sent = {**BASE, "ratio": 1.5, "big": 2**40, "tags": ["a"], "my_name": "x", "nothing": None}
    came = from_request(request(json.dumps(sent).encode()))
    assert came.findings == (Finding.ATTRIBUTES,)
    assert came.error is None
    expected = {"ratio": "1.5", "big": str(2**40), "tags": '["a"]', "myname": "x"}
    assert came.event.attributes == {**BASE, **expected, "wmenvelope": "attributes"}


def test_event_without_an_id_gets_one_and_tells():
    sent = {key: value for key, value in BASE.items() if key != "id"}
    first, second = (from_request(request(json.dumps(sent).encode())) for _ in range(2))
    assert first.findings == (Finding.ID,)
    assert first.event.id != second.event.id


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (b"\x00\xff raw", "application/octet-stream"),
        (b'{"temperature": 20}', "application/json"),
        (b"[1, 2]", "application/json"),
        (b"", "application/octet-stream"),
        (b'{"specversion": "1.0", "cut o', "application/octet-stream"),
    ],
)
def test_raw_payload_becomes_an_event_with_its_bytes(payload, content_type):
    came = from_request(request(payload))
    assert came.event.data == payload
    assert came.event.attributes["datacontenttype"] == content_type
    assert came.event.source == "/dapr/pubsub/topic"
    assert (came.findings, came.error) == ((Finding.RAW,), None)


@pytest.mark.parametrize(
    "broken",
    [
        {"specversion": "0.3"},
        {"time": "yesterday"},
        {"subject": "a\nb"},
        {"data_base64": "%%"},
        {"my_name": 1, "myname": 2},
    ],
)
def test_malformed_event_is_carried_whole_with_the_reason(broken):
    message = json.dumps({**BASE, **broken}).encode()
    came = from_request(request(message))
    assert came.error is not None
    assert came.event.data == message
    assert validate_attributes(came.event.attributes) == []
    assert came.event.attributes["wmerrormessage"] in str(came.error)


@given(st.binary(max_size=60) | st.dictionaries(st.text(max_size=8), st.text() | st.integers() |
       st.none() | st.floats(allow_nan=False) | st.lists(st.integers()), max_size=5)
       .map(lambda members: json.dumps({**BASE, **members}).encode()))  # fmt: skip
def test_whatever_lies_in_a_topic_becomes_a_valid_event(message):
    came = from_request(request(message))
    assert validate_attributes(came.event.attributes) == []


# -- the envelope of a sidecar that does not know raw payloads -----------------------------------


def enveloped(data, content_type, **attributes):
    message = {**BASE, "datacontenttype": content_type, **attributes, "data": data}
    return from_request(request(json.dumps(message).encode(), raw=False))


def test_envelope_that_lost_its_data_is_told():
    assert enveloped({"a": 1}, "application/vnd.x+json").findings == (Finding.DATA,)
    assert enveloped({"a": 1}, None).findings == (Finding.DATA,)
    assert enveloped({"a": 1}, "application/json").findings == ()


@pytest.mark.parametrize("number", [2**53 + 1, -(2**60), 1e300, [2**64]])
def test_envelope_with_numbers_that_may_be_rounded_is_told(number):
    assert enveloped({"n": number}, "application/json").findings == (Finding.NUMBERS,)
    assert enveloped({"n": 2**53 - 1}, "application/json").findings == ()
    assert enveloped({"n": "12345678901234567890"}, "application/json").findings == ()


def test_envelope_with_replaced_text_is_told():
    assert enveloped("a\ufffd", "text/plain").findings == (Finding.TEXT,)


def test_envelope_keeps_integers_of_attributes_and_tells_of_the_rest():
    came = enveloped("x", "text/plain", count=5, large=2**60, ratio=1.5)
    assert came.event.attributes["count"] == 5
    assert came.event.attributes["large"] == str(2**60)
    assert set(came.findings) == {Finding.NUMBERS, Finding.ATTRIBUTES}


def test_envelope_without_an_id_gets_one():
    came = enveloped("x", "text/plain", id="")
    assert came.findings == (Finding.ID,)
    assert came.event.id


# -- events that came back -----------------------------------------------------------------------


@pytest.mark.parametrize("own", [None, "mine"])
def test_our_own_event_says_where_it_went_and_nobody_sees_it(own):
    sent = made(b"1", datacontenttype="application/json", **({"topic": own} if own else {}))
    came = request(to_publish(sent, "orders"))
    assert origin_of(came) == "orders"
    assert from_request(came).event == sent


def test_an_event_of_the_sidecars_envelope_says_where_it_went():
    assert origin_of(request(published(b"1", "application/json"))) == "topic"


@pytest.mark.parametrize(
    "message", [b"raw", b"[1]", b'{"topic": "t"}', b'{"specversion": "1.0", "topic": "t"}']
)
def test_a_message_of_somebody_else_does_not(message):
    assert origin_of(request(message)) == ""
