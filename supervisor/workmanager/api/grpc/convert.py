"""Messages to the REST API's JSON values and back, by their JSON names.

protobuf's own `json_format` will not do: it writes 64-bit integers as text, which strict fields of
a manifest refuse, and it takes ten times as long. A field's JSON name is the camelCase of its name;
a field that is not there is left out, a null is not written. Whole numbers of a Struct, which knows
doubles only, come out as integers.

    bytes = base64 text      Timestamp = aware datetime      CloudEvent = the JSON event format
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from workmanager.api.grpc.events import event_message, read_message
from workmanager.model.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from google._upb import _message as fast
    from google.protobuf import descriptor as plain
    from google.protobuf.message import Message
    from pydantic import BaseModel

    from workmanager.cloudevents.v1.cloudevents_pb2 import CloudEvent

    Descriptor = plain.Descriptor | fast.Descriptor
    Field = plain.FieldDescriptor | fast.FieldDescriptor

M = TypeVar("M", bound="Message")

WHOLE_MAX = 2.0**53  # above it a double does not tell neighbouring integers apart


def to_json(message: Message) -> dict[str, Any]:
    """Return the JSON object that *message* stands for; what it does not hold is left out."""
    readers = _readers(message.DESCRIPTOR)
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        name, read = readers[field.number]
        found[name] = value if read is None else read(value)
    return found


def to_message(kind: type[M], resource: BaseModel) -> M:
    """Return *resource* as a message of type *kind*; what the message has no field for is lost."""
    return from_json(kind, resource.model_dump(by_alias=True))


def from_json(kind: type[M], values: Mapping[str, Any]) -> M:
    """Return the message that a JSON object (with datetimes for times) stands for."""
    return kind(**_arguments(kind.DESCRIPTOR, values))


def struct_to_json(struct: Struct) -> dict[str, Any]:
    """Return a Struct as a dict, with whole numbers as integers."""
    return {key: _value_to_json(value) for key, value in struct.fields.items()}


def _arguments(descriptor: Descriptor, values: Mapping[str, Any]) -> dict[str, Any]:
    writers = _writers(descriptor)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if value is None or key not in writers:
            continue
        name, write = writers[key]
        arguments[name] = value if write is None else write(value)
    return arguments


# -- reading ---------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _readers(descriptor: Descriptor) -> dict[int, tuple[str, Callable[[Any], Any] | None]]:
    """Tell how each field is read, by number: its JSON name, and what to do with its value."""
    return {field.number: (field.json_name, _reader(field)) for field in descriptor.fields}


def _reader(field: Field) -> Callable[[Any], Any] | None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict
    read = _SPECIAL_READERS.get(_type_of(field)) or (
        to_json if field.message_type is not None else None
    )
    if not field.is_repeated:
        return read
    return list if read is None else _each(read)


def _each(convert: Callable[[Any], Any]) -> Callable[[Iterable[Any]], list[Any]]:
    return lambda values: [convert(value) for value in values]


def _type_of(field: Field) -> str:
    if field.message_type is not None:
        return str(field.message_type.full_name)
    return "bytes" if field.type == field.TYPE_BYTES else ""


def _bytes_to_json(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _value_to_json(value: Value) -> Any:  # noqa: ANN401 - any JSON value
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return struct_to_json(value.struct_value)
    if kind == "list_value":
        return [_value_to_json(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= WHOLE_MAX else number
    return None if kind in (None, "null_value") else getattr(value, kind)


def _event_to_json(message: CloudEvent) -> dict[str, Any]:
    return read_message(message).to_json()


_SPECIAL_READERS: dict[str, Callable[[Any], Any]] = {
    "bytes": _bytes_to_json,
    "google.protobuf.Struct": struct_to_json,
    "google.protobuf.Value": _value_to_json,
    "google.protobuf.Timestamp": lambda value: value.ToJsonString(),
    "io.cloudevents.v1.CloudEvent": _event_to_json,
}


# -- writing ---------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _writers(descriptor: Descriptor) -> dict[str, tuple[str, Callable[[Any], Any] | None]]:
    """Tell how each JSON name is written: its field's name, and what to do with its value."""
    return {field.json_name: (field.name, _writer(field)) for field in descriptor.fields}


def _writer(field: Field) -> Callable[[Any], Any] | None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return None
    write = _SPECIAL_WRITERS.get(_type_of(field))
    if write is None and field.message_type is not None and _type_of(field) not in _NATIVE:
        descriptor = field.message_type
        write = lambda values: _arguments(descriptor, values)  # noqa: E731 - one of several
    return write if write is None or not field.is_repeated else _each(write)


def _json_to_value(value: object) -> Value:
    if value is None:
        return Value(null_value=0)  # type: ignore[arg-type]  # NULL_VALUE, the only one
    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, int | float):
        return Value(number_value=value)
    if isinstance(value, str):
        return Value(string_value=value)
    if isinstance(value, dict):
        fields = {str(key): _json_to_value(item) for key, item in value.items()}
        return Value(struct_value=Struct(fields=fields))
    assert isinstance(value, list | tuple)  # noqa: S101 - there is no other JSON value
    return Value(list_value=ListValue(values=[_json_to_value(item) for item in value]))


def _json_to_struct(value: Mapping[str, object]) -> Struct:
    return Struct(fields={key: _json_to_value(item) for key, item in value.items()})


def _json_to_event(value: object) -> CloudEvent:
    return event_message(Event.from_json(value))


_NATIVE = frozenset({"google.protobuf.Timestamp"})  # built from datetimes by protobuf itself
_SPECIAL_WRITERS: dict[str, Callable[[Any], Any]] = {
    "bytes": base64.b64decode,
    "google.protobuf.Struct": _json_to_struct,
    "google.protobuf.Value": _json_to_value,
    "io.cloudevents.v1.CloudEvent": _json_to_event,
}
