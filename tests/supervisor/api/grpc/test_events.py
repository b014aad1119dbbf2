"""CloudEvents as messages and back."""

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from workmanager.api.grpc.events import event_message, read_message, read_messages
from workmanager.cloudevents.v1.cloudevents_pb2 import CloudEvent
from workmanager.errors import InvalidArgumentError, Reason
from workmanager.model.event import Event

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).filter(
    lambda name: name not in ("id", "source", "type", "specversion", "data", "time", "expirytime",
                              "subject", "datacontenttype")
)  # fmt: skip
texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)
values = texts | st.integers(-(2**31), 2**31 - 1) | st.booleans() | st.binary(max_size=30)
filled = texts.filter(bool)


@st.composite
def events(draw):
    attributes = {
        "specversion": "1.0",
        "id": draw(filled),
        "source": draw(filled),
        "type": draw(filled),
        **draw(st.dictionaries(names, values, max_size=4)),
    }
    attributes.pop("dataschema", None)  # text only; it has a test of its own
    content_type = draw(st.sampled_from(["", "application/json", "text/plain", "image/png"]))
    if content_type:
        attributes["datacontenttype"] = content_type
    return Event(attributes, draw(st.none() | st.binary(max_size=50)))


@given(events())
def test_an_event_comes_through_with_the_types_of_its_attributes(event):
    raw = event_message(event).SerializeToString()
    again = read_message(CloudEvent.FromString(raw))
    assert again == event
    assert [type(value) for value in again.attributes.values()].sort(key=str) == [
        type(value) for value in event.attributes.values()
    ].sort(key=str)


def event(**members):
    return CloudEvent(id="1", source="/s", type="t", **members)


@pytest.mark.parametrize(
    ("content_type", "data", "kind"),
    [
        ("application/json", b'{"a":1}', "text_data"),
        ("application/vnd.x+json", b"[]", "text_data"),
        ("", b"{}", "text_data"),
        ("text/plain; charset=utf-8", "é".encode(), "text_data"),
        ("text/plain", b"\xff", "binary_data"),
        ("application/octet-stream", b"abc", "binary_data"),
    ],
)
def test_data_is_text_where_it_is_text(content_type, data, kind):
    attributes = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    if content_type:
        attributes["datacontenttype"] = content_type
    message = event_message(Event(attributes, data))
    assert message.WhichOneof("data") == kind
    assert read_message(message).data == data


def test_no_data_is_told_from_empty_data():
    assert read_message(event()).data is None
    assert read_message(event(binary_data=b"")).data == b""
    assert read_message(event(text_data="")).data == b""


def test_a_message_as_data_keeps_its_bytes_and_its_type():
    packed = Any()
    packed.Pack(Timestamp(seconds=5))
    read = read_message(event(proto_data=packed))
    assert read.data == Timestamp(seconds=5).SerializeToString()
    assert read.attributes["datacontenttype"] == "application/protobuf"
    assert read.attributes["dataschema"] == "type.googleapis.com/google.protobuf.Timestamp"


def test_times_are_timestamps():
    message = event()
    message.attributes["time"].ce_timestamp.FromJsonString("2026-11-21T12:00:00.123+02:00")
    read = read_message(message)
    assert read.attributes["time"] == "2026-11-21T10:00:00.123Z"
    assert event_message(read).attributes["time"].ce_timestamp == (
        message.attributes["time"].ce_timestamp
    )
    message.attributes["time"].ce_string = "2026-11-21T12:00:00+02:00"
    assert read_message(message).attributes["time"] == "2026-11-21T12:00:00+02:00"


def test_uris_are_texts():
    message = event()
    message.attributes["dataschema"].ce_uri = "https://x/y"
    message.attributes["other"].ce_uri_ref = "/z"
    read = read_message(message)
    assert (read.attributes["dataschema"], read.attributes["other"]) == ("https://x/y", "/z")
    assert event_message(read).attributes["dataschema"].ce_uri == "https://x/y"


def test_every_fault_of_an_event_is_told():
    message = CloudEvent(id="1", spec_version="0.3")
    message.attributes["BAD"].ce_string = "x"
    message.attributes["id"].ce_string = "2"
    message.attributes["time"].ce_string = "yesterday"
    with pytest.raises(InvalidArgumentError) as caught:
        read_message(message)
    assert caught.value.reason is Reason.MALFORMED_EVENT
    pointers = {fault.pointer for fault in caught.value.faults}
    assert pointers == {"source", "type", "specversion", "BAD", "attributes.id", "time"}


def test_faults_of_a_batch_have_their_place():
    with pytest.raises(InvalidArgumentError) as caught:
        read_messages([event(), CloudEvent(id="2", source="/s")])
    assert [fault.pointer for fault in caught.value.faults] == ["1.type"]


def test_a_batch_is_not_empty():
    with pytest.raises(InvalidArgumentError):
        read_messages([])
