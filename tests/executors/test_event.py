"""Events as user code sees them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from harness import wire

from workmanager_executor import DataError, Event
from workmanager_executor.event import received, received_as_dict


def test_received_event_has_its_attributes():
    event = received(wire({"n": 1}, subject="s", partitionkey="k", seq=7))
    assert (event.id, event.source, event.type, event.subject) == ("e", "/test", "test.event", "s")
    assert event.extensions == {"partitionkey": "k", "seq": 7}
    assert event.attributes["specversion"] == "1.0"
    assert event.topic is None


@pytest.mark.parametrize(
    ("media_type", "body", "data"),
    [
        ("application/json", b'{"a": [1, null]}', {"a": [1, None]}),
        ("application/json; charset=utf-8", b'"x"', "x"),
        ("Application/Problem+JSON", b"1", 1),
        ("text/plain", "grün".encode(), "grün"),
        ("text/plain; charset=latin-1", "grün".encode("latin-1"), "grün"),
        ("text/csv; header=present", b"a,b", "a,b"),
        ("image/png", b"\x89P", b"\x89P"),
        (None, b'{"a": 1}', {"a": 1}),
        (None, b"\xff\xfe", b"\xff\xfe"),
        (None, b"no json", b"no json"),
    ],
)
def test_data_is_decoded_as_its_type_says(media_type, body, data):
    event = received(wire(body, datacontenttype=media_type))
    assert event.data == data
    assert event.raw_data == body
    assert received_as_dict(wire(body, datacontenttype=media_type))["data"] == data


def test_no_data_is_none():
    assert received(wire()).data is None
    assert received(wire()).raw_data is None


def test_data_is_decoded_once():
    event = received(wire({"a": 1}))
    assert event.data is event.data


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"\xff"),
        ("application/json", b"[" * 100_000),
        ("text/plain", b"\xff"),
        ("text/plain; charset=martian", b"x"),
    ],
)
def test_data_that_is_not_what_its_type_says_is_never_retried(media_type, body):
    event = received(wire(body, datacontenttype=media_type))
    with pytest.raises(DataError, match="data is not valid"):
        _ = event.data
    assert event.id == "e"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21T10:00:00Z", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("2026-11-21t10:00:00.5z", datetime(2026, 11, 21, 10, 0, 0, 500_000, UTC)),
        (
            "2026-11-21T10:00:00.123456789+02:30",
            datetime(2026, 11, 21, 7, 30, 0, 123456, UTC),
        ),
        ("2026-11-21T10:00:00-01:00", datetime(2026, 11, 21, 11, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_time_is_utc(text, time):
    assert received(wire(time=text)).time == time


def test_seed_form_has_lower_case_keys_and_data():
    event = received_as_dict(wire({"n": 1}, subject="s"))
    assert event["data"] == {"n": 1}
    assert (event["type"], event["source"], event["subject"]) == ("test.event", "/test", "s")


def test_made_event_keeps_what_it_was_given():
    event = Event("t", {"a": 1}, topic="out", partitionkey="k", tenant="x")
    assert event.attributes == {"type": "t", "partitionkey": "k", "tenant": "x"}
    assert (event.data, event.topic, event.id, event.raw_data) == ({"a": 1}, "out", "", None)


@pytest.mark.parametrize("name", ["id", "specversion", "time"])
def test_what_workmanager_sets_cannot_be_given(name):
    with pytest.raises(TypeError, match=name):
        Event("t", **{name: "x"})


def test_event_names_its_attributes_when_shown():
    assert repr(Event("t", subject="s")) == "Event(type='t', subject='s')"
