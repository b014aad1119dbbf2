"""CloudEvents as messages (Protobuf event format 1.0.2) to events and back; data stays bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from workmanager.cloudevents.v1.cloudevents_pb2 import CloudEvent
from workmanager.errors import Fault
from workmanager.model.event import (
    Attributes,
    Event,
    is_json_type,
    malformed,
    validate_attributes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PROTOBUF = "application/protobuf"
_OWN_FIELDS = {"id": "id", "source": "source", "type": "type", "specversion": "spec_version"}
_Value = CloudEvent.CloudEventAttributeValue


def read_message(message: CloudEvent) -> Event:
    """Read one event.

    Raises:
        InvalidArgumentError: With every fault (MALFORMED_EVENT).
    """
    event, faults = _read(message)
    if faults:
        raise malformed(faults)
    return event


def read_messages(messages: Sequence[CloudEvent]) -> list[Event]:
    """Read events that travel together.

    Raises:
        InvalidArgumentError: With every fault of each, its place before it (MALFORMED_EVENT).
    """
    events: list[Event] = []
    found: list[Fault] = []
    for index, message in enumerate(messages):
        event, faults = _read(message)
        events.append(event)
        found += [Fault(f"{index}.{fault.pointer}", fault.detail) for fault in faults]
    if not events:
        found.append(Fault("", "no event was sent"))
    if found:
        raise malformed(found)
    return events


def event_message(event: Event) -> CloudEvent:
    """Write an event."""
    message = CloudEvent()
    for name, value in event.attributes.items():
        if name in _OWN_FIELDS:
            setattr(message, _OWN_FIELDS[name], value)
        else:
            message.attributes[name].CopyFrom(_attribute(name, value))
    if event.data is not None:
        text = _text_of(event.data, str(event.attributes.get("datacontenttype", "")))
        if text is None:
            message.binary_data = event.data
        else:
            message.text_data = text
    return message


def _read(message: CloudEvent) -> tuple[Event, list[Fault]]:
    attributes: Attributes = {
        "specversion": message.spec_version or "1.0",
        "id": message.id,
        "source": message.source,
        "type": message.type,
    }
    faults: list[Fault] = []
    for name, value in message.attributes.items():
        if name in attributes:
            faults.append(Fault(f"attributes.{name}", "stands in a field of its own"))
            continue
        attributes[name] = _plain(value)
    data = _data_of(message, attributes)
    return Event(attributes, data), faults + validate_attributes(attributes)


def _plain(value: _Value) -> str | int | bool | bytes:
    kind = value.WhichOneof("attr")
    if kind is None:
        return ""
    if kind == "ce_timestamp":
        return str(value.ce_timestamp.ToJsonString())
    plain: str | int | bool | bytes = getattr(value, kind)
    return plain


def _attribute(name: str, value: str | int | bool | bytes) -> _Value:
    if isinstance(value, bool):
        return _Value(ce_boolean=value)
    if isinstance(value, int):
        return _Value(ce_integer=value)
    if isinstance(value, bytes):
        return _Value(ce_bytes=value)
    if name == "time":
        when = Timestamp()
        when.FromJsonString(value)
        return _Value(ce_timestamp=when)
    return _Value(ce_uri=value) if name == "dataschema" else _Value(ce_string=value)


def _data_of(message: CloudEvent, attributes: Attributes) -> bytes | None:
    kind = message.WhichOneof("data")
    if kind == "binary_data":
        return message.binary_data
    if kind == "text_data":
        return message.text_data.encode()
    if kind == "proto_data":
        attributes.setdefault("datacontenttype", PROTOBUF)
        attributes.setdefault("dataschema", message.proto_data.type_url)
        return message.proto_data.value
    return None


def _text_of(data: bytes, content_type: str) -> str | None:
    """Return JSON or text data as text; None where it is neither, or no valid UTF-8."""
    if not is_json_type(content_type) and not content_type.startswith("text/"):
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
