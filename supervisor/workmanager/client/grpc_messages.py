"""Calls as protobuf messages, and messages as the JSON of the REST API.

The names are the same; what differs is done here: manifests, whose durations and sizes may be text,
events, and whole numbers of 64 bits, which protobuf's own JSON mapping writes as text.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from workmanager.client.grpc_methods import grpc_methods
from workmanager.client.problems import ProblemError
from workmanager.cloudevents.v1.cloudevents_pb2 import CloudEvent
from workmanager.errors import WorkManagerError
from workmanager.model.event import Event, is_json_type
from workmanager.model.manifest import parse_manifest
from workmanager.v1 import spec_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    from workmanager.client.call import Call, Json
    from workmanager.v1.worker_service_pb2 import GetCodeResponse

SPEC_FILE = spec_pb2.DESCRIPTOR.name
REQUIRED = ("id", "source", "type", "specversion")  # these have fields of their own


def request_of(call: Call[Any]) -> Message:
    """Return the request message of *call*.

    Raises:
        ProblemError: What is given cannot be said in protobuf; the service would refuse it too.
    """
    request = grpc_methods()[call.rpc].request()
    plain = {}
    try:
        for name, value in call.fields.items():
            if name in _SPECIAL:
                _SPECIAL[name](request, value)
            elif value not in (None, ""):
                plain[name] = value
        return ParseDict(plain, request)
    except WorkManagerError as error:
        raise ProblemError(
            error.reason.name,
            error.reason.status,
            str(error),
            faults=error.faults,
            metadata=error.metadata,
        ) from error
    except (ParseError, TypeError, ValueError) as error:
        raise ProblemError("INVALID_ARGUMENT", 400, str(error)) from error


def document_of(message: Message) -> Json:
    """Return *message* in the form that the REST API gives it."""
    read = _READ.get(message.DESCRIPTOR.full_name)
    return cast("Json", read(message)) if read is not None else _fields_of(message)


def _set_manifest(request: Message, manifest: object) -> None:
    """Put a manifest or a seed form in: what was given, in plain units."""
    name = getattr(request, "worker", "") or None
    read = parse_manifest(manifest, name=name)
    given = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
    ParseDict(given, cast("Any", request).manifest)


def _set_event(request: Message, event: object) -> None:
    cast("Any", request).event.CopyFrom(_event_message(event))


def _set_events(request: Message, events: Sequence[object]) -> None:
    cast("Any", request).events.extend(map(_event_message, events))


def _set_content(request: Message, content: bytes) -> None:
    cast("Any", request).content = content


_SPECIAL: dict[str, Callable[[Message, Any], None]] = {
    "manifest": _set_manifest,
    "event": _set_event,
    "events": _set_events,
    "content": _set_content,
}


def _event_message(document: object) -> CloudEvent:
    event = Event.from_json(document)
    message = CloudEvent(id=event.id, source=event.source, type=event.type, spec_version="1.0")
    for name, value in event.attributes.items():
        if name not in REQUIRED:
            _set_attribute(message.attributes[name], value)
    if event.data is not None:
        _set_data(message, event.data, str(event.attributes.get("datacontenttype", "")))
    return message


def _set_attribute(
    target: CloudEvent.CloudEventAttributeValue, value: str | int | bool | bytes
) -> None:
    if isinstance(value, bool):
        target.ce_boolean = value
    elif isinstance(value, int):
        target.ce_integer = value
    elif isinstance(value, bytes):
        target.ce_bytes = value
    else:
        target.ce_string = value


def _set_data(message: CloudEvent, data: bytes, content_type: str) -> None:
    if is_json_type(content_type) or content_type.startswith("text/"):
        try:
            message.text_data = data.decode()
        except UnicodeDecodeError:  # another charset
            message.binary_data = data
    else:
        message.binary_data = data


def _event_document(message: CloudEvent) -> Json:
    attributes: dict[str, Any] = {
        "id": message.id,
        "source": message.source,
        "specversion": message.spec_version or "1.0",
        "type": message.type,
    }
    for name, value in message.attributes.items():
        kind = value.WhichOneof("attr")
        if kind is not None:
            attributes[name] = _plain(getattr(value, kind))
    return Event(attributes, _data_of(message)).to_json()


def _data_of(message: CloudEvent) -> bytes | None:
    kind = message.WhichOneof("data")
    if kind == "text_data":
        return message.text_data.encode()
    if kind == "proto_data":
        return message.proto_data.value
    return message.binary_data if kind else None


def _fields_of(message: Message) -> Json:
    """Read every field; what a specification does not set stays out of it, as in a manifest."""
    is_spec = message.DESCRIPTOR.file.name == SPEC_FILE
    document: Json = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        is_there = message.HasField(field.name) if field.has_presence else value or not is_spec
        if is_there:
            document[field.json_name] = _value_of(cast("FieldDescriptor", field), value)
    return document


def _value_of(field: FieldDescriptor, value: object) -> object:
    if not field.is_repeated:
        return _plain(value)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {key: _plain(each) for key, each in cast("Mapping[str, object]", value).items()}
    return [_plain(each) for each in cast("Sequence[object]", value)]


def _plain(value: object) -> object:
    if hasattr(value, "DESCRIPTOR"):
        return document_of(cast("Message", value))
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _timestamp(value: Timestamp) -> str:
    return value.ToJsonString()


def _struct(value: Message) -> object:
    """Read a Struct; its numbers are doubles, those without a fraction were whole."""
    return _whole(MessageToDict(value))


def _whole(value: object) -> object:
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _code(value: GetCodeResponse) -> Json:
    return {"content": value.content, "mediaType": value.media_type}


_READ: dict[str, Callable[[Any], object]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Struct": _struct,
    "google.protobuf.Value": _struct,
    "io.cloudevents.v1.CloudEvent": _event_document,
    "workmanager.v1.GetCodeResponse": _code,
}
