"""CloudEvents over HTTP: what is written reads back, and junk is refused, never more."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.api.cloudevents import (
    BATCH,
    STRUCTURED,
    read_batch,
    read_binary,
    read_event,
    read_events,
    read_structured,
    write_batch,
    write_binary,
    write_structured,
)
from workmanager.errors import InvalidArgumentError, Reason
from workmanager.model.event import Event, validate_attributes

PLAIN = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}

texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1
)
names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda name: name not in {"data", "time", "expirytime", "specversion", "datacontenttype"}
)
scalars = st.one_of(texts, st.booleans(), st.integers(-(2**31), 2**31 - 1))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def json_events(draw):
    """Make events in the JSON format, as a stranger may write them."""
    event = dict(draw(st.dictionaries(names, scalars, max_size=4)))
    event |= {"specversion": "1.0", "id": draw(texts), "source": draw(texts), "type": draw(texts)}
    if draw(st.booleans()):
        event["time"] = draw(st.sampled_from(["2026-11-21T10:00:00Z", "2026-11-21T10:00:00+02:00"]))
    if draw(st.booleans()):
        event["subject"] = draw(st.none() | texts)
    content_type = draw(st.sampled_from([None, "application/json", "text/plain", "image/png"]))
    if content_type:
        event["datacontenttype"] = content_type
    kind = draw(st.sampled_from(["none", "data", "data_base64"]))
    if kind == "data":
        event["data"] = draw(texts if content_type in ("text/plain", "image/png") else json_values)
    elif kind == "data_base64":
        event["data_base64"] = base64.b64encode(draw(st.binary())).decode()
    return event


def faults_of(call, *args):
    with pytest.raises(InvalidArgumentError) as caught:
        call(*args)
    assert caught.value.reason is Reason.MALFORMED_EVENT
    return {fault.pointer for fault in caught.value.faults}


@given(st.lists(json_events(), max_size=4))
def test_both_gears_of_a_batch_read_what_the_model_reads(events):
    """The fast gear, the slow gear (forced by an extension) and Event.from_json agree."""
    expected = [Event.from_json(event) for event in events]
    assert [_decoded(e) for e in read_batch(json.dumps(events).encode())] == [
        _decoded(e) for e in expected
    ]
    forced = [{**event, "zzext": "x"} for event in events]
    for event, model in zip(read_batch(json.dumps(forced).encode()), expected, strict=True):
        assert event.attributes.pop("zzext") == "x"
        assert _decoded(event) == _decoded(model)


@given(json_events())
def test_structured_mode_agrees_with_a_batch_of_one(event):
    body = json.dumps(event, ensure_ascii=False).encode()
    assert read_structured(body) == read_batch(b"[" + body + b"]")[0]


@given(st.lists(json_events(), max_size=3))
def test_a_written_batch_reads_back(events):
    read = read_batch(json.dumps(events).encode())
    again = read_batch(write_batch(read))
    assert [_with_implied_type(e) for e in again] == [_with_implied_type(e) for e in read]


@given(json_events())
def test_written_binary_mode_reads_back(event):
    read = read_structured(json.dumps(event).encode())
    headers, body = write_binary(read)
    again = read_binary(headers, body)
    as_text = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in read.attributes.items()
    }
    assert again.attributes == as_text
    assert (again.data or b"") == (read.data or b"")


@given(st.binary(max_size=200))
def test_junk_is_refused_or_read_but_never_breaks(body):
    for content_type in (BATCH, STRUCTURED, "application/json", ""):
        with suppress(InvalidArgumentError):
            for event in read_events([(b"content-type", content_type.encode())], body):
                assert not validate_attributes(event.attributes)


@given(
    st.lists(st.tuples(st.binary(max_size=12).map(lambda n: b"ce-" + n), st.binary(max_size=40)))
)
def test_junk_headers_are_refused_or_read_but_never_break(headers):
    base = [(b"ce-id", b"1"), (b"ce-source", b"/s"), (b"ce-type", b"t")]
    with suppress(InvalidArgumentError):
        assert not validate_attributes(read_binary(base + headers, b"").attributes)


def test_data_is_kept_byte_for_byte():
    raw = b'{ "n": 1.10, "big": 123456789012345678901234567890, "u": "\\u00e9" }'
    body = b'[{"id":"1","source":"/s","type":"t","data":' + raw + b"}]"
    assert read_batch(body)[0].data == raw
    assert write_batch(read_batch(body)).count(raw) == 1


def test_null_data_is_data_and_absence_is_none():
    base = '{"id":"1","source":"/s","type":"t"'
    assert read_structured(f'{base},"data":null}}'.encode()).data == b"null"
    assert read_structured(f"{base}}}".encode()).data is None


def test_text_data_is_unescaped():
    event = {**PLAIN, "datacontenttype": "application/xml", "data": '<a b="c"/>'}
    assert read_structured(json.dumps(event).encode()).data == b'<a b="c"/>'


def test_every_fault_of_every_event_is_listed():
    batch = [
        {"id": "", "source": 1, "type": "t"},
        {**PLAIN, "Bad-Name": "x", "time": "yesterday", "data": 1, "data_base64": "AA=="},
        PLAIN,
        "text",
        {**PLAIN, "n": 1.5, "nested": {}, "data_base64": "!"},
    ]
    assert faults_of(read_batch, json.dumps(batch).encode()) == {
        "events[0].id",
        "events[0].source",
        "events[1].Bad-Name",
        "events[1].time",
        "events[1].data",
        "events[3]",
        "events[4].n",
        "events[4].nested",
        "events[4].data_base64",
    }


@pytest.mark.parametrize("event", [{**PLAIN, "specversion": "0.3"}, {**PLAIN, "id": "a\u0007"}])
def test_the_fast_gear_does_not_overlook_a_fault(event):
    assert faults_of(read_batch, json.dumps([PLAIN, event]).encode())


def test_deep_nesting_is_refused():
    assert faults_of(read_batch, b'[{"data":' + b"[" * 100_000) == {""}


@pytest.mark.parametrize("mode", [read_batch, read_structured])
def test_text_that_is_no_utf8_is_refused_inside_data_too(mode):
    assert faults_of(mode, b'[{"id":"1","source":"/s","type":"t","data":"\xff"}]') == {""}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"%e2%82%ac", "€"),
        (b"%41", "A"),
        (b'"a \\"quoted\\" text"', 'a "quoted" text'),
        (b"plain text", "plain text"),
        ("€".encode(), "€"),
    ],
)
def test_header_values_are_unquoted_and_percent_decoded(header, value):
    headers = [(b"ce-id", b"1"), (b"ce-source", b"/s"), (b"ce-type", b"t"), (b"ce-x", header)]
    assert read_binary(headers, b"").attributes["x"] == value


@pytest.mark.parametrize("header", [b"%C0%A0", b"%zz", b"100%", b"\xff", b"%00"])
def test_header_values_that_cannot_be_decoded_are_refused(header):
    """`%C0%A0` is an overlong encoding of a space, the specification's own example."""
    headers = [(b"ce-id", b"1"), (b"ce-source", b"/s"), (b"ce-type", b"t"), (b"ce-x", header)]
    assert faults_of(read_binary, headers, b"") == {"x"}


def test_binary_mode_takes_the_content_type_and_refuses_it_as_an_attribute():
    headers = [
        *((b"ce-id", b"1"), (b"ce-source", b"/s"), (b"ce-type", b"t")),
        (b"content-type", b"text/plain; charset=utf-8"),
    ]
    assert read_binary(headers, b"hi").attributes["datacontenttype"] == "text/plain; charset=utf-8"
    assert read_binary(headers, b"").data is None
    assert faults_of(read_binary, [*headers, (b"ce-datacontenttype", b"x")], b"") == {
        "datacontenttype"
    }


def test_a_header_given_twice_is_refused():
    headers = [(b"ce-id", b"1"), (b"ce-id", b"2"), (b"ce-source", b"/s"), (b"ce-type", b"t")]
    assert faults_of(read_binary, headers, b"") == {"id"}


def test_binary_mode_says_that_absent_type_means_json():
    headers, _ = write_binary(Event({**PLAIN}, b"[1]"))
    assert (b"content-type", b"application/json") in headers


def test_data_declared_as_json_that_is_none_is_written_as_base64():
    event = Event({**PLAIN, "datacontenttype": "application/json"}, b"\xff{")
    assert json.loads(write_structured(event))["data_base64"] == base64.b64encode(b"\xff{").decode()


def test_other_event_formats_are_refused():
    with pytest.raises(InvalidArgumentError) as caught:
        read_events([(b"content-type", b"application/cloudevents+avro")], b"")
    assert caught.value.reason is Reason.UNSUPPORTED_MEDIA_TYPE


def test_one_event_is_one_event():
    headers = [(b"content-type", BATCH.encode())]
    assert read_event(headers, json.dumps([PLAIN]).encode()).id == "1"
    assert read_events(headers, b"[]") == []
    assert faults_of(read_event, headers, b"[]") == {""}


def _with_implied_type(event: Event) -> tuple[dict, object]:
    """Data that is JSON without saying so says so when it is read back (CloudEvents JSON, 3.1)."""
    attributes, data = _decoded(event)
    return {"datacontenttype": "application/json", **attributes}, data


def _decoded(event: Event) -> tuple[dict, object]:
    """Compare JSON data by value: the model writes it anew, the reader keeps the text."""
    return event.attributes, event.to_json().get("data", event.data)
