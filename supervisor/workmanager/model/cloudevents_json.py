"""The CloudEvents JSON format: single events and batches, to events and back.

Data stays bytes: `msgspec.Raw` finds the end of the `data` member without building an object (0.4
us an event of 300 B; decoding costs twice that and, for hostile input, 20 times the memory).

A batch is read in two gears. The first decodes straight into records of the most common attributes
(2.4 us an event of 300 B). What it cannot take, another extension or a fault, goes to the second,
which takes any attribute (6 us). Both let pass what is plainly right after a few string methods and
leave the rest to `validate_attributes`, which lists every fault.

Source: CloudEvents 1.0.2, JSON event format, sections 2 to 4.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import TYPE_CHECKING, cast

import msgspec

from workmanager.errors import Fault, InvalidArgumentError
from workmanager.model.event import (
    MAX_ATTRIBUTE_BYTES,
    Attributes,
    Event,
    is_json_type,
    malformed,
    validate_attributes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON = "application/json"

_A_TIME = "2000-01-01T00:00:00Z"
_Scalar = str | bool | int | None
_NAME = re.compile(r"[a-z0-9]{1,64}")
_COMMON_NAMES = frozenset(
    (
        *("specversion", "id", "source", "type", "datacontenttype", "time", "subject"),
        *("dataschema", "traceparent", "tracestate", "partitionkey", "correlationid"),
        *("causationid", "sequence"),
    )
)


class _Record(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event with none but the most common attributes; None = absent, as the format says."""

    id: str
    source: str
    type: str
    specversion: str = "1.0"
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # null is data, absence is not
    datacontenttype: str | None = None
    time: str | None = None
    subject: str | None = None
    traceparent: str | None = None
    partitionkey: str | None = None


_records = msgspec.json.Decoder(list[_Record])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
read_scalar = msgspec.json.Decoder(_Scalar).decode  # of an attribute; raises MsgspecError
_text = msgspec.json.Decoder(str)


def read_batch(body: bytes) -> list[Event]:
    """Read a JSON batch; all faults of all events are listed, as `events[3].id`."""
    _check_utf8(body)
    try:
        records = _records.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return _read_batch_slowly(body)
    events = [_event_of(record) for record in records]
    if not all(events):  # an event is never false
        return _read_batch_slowly(body)
    return cast("list[Event]", events)


def read_structured(body: bytes) -> Event:
    """Read one event in the JSON event format."""
    _check_utf8(body)
    faults: list[Fault] = []
    event = _event_of_json(body, "", faults)
    if event is None or faults:
        raise malformed(faults)
    return event


def write_structured(event: Event) -> bytes:
    """Return *event* in the JSON event format; JSON data is inlined as it stands."""
    return msgspec.json.encode(_members_of(event))


def write_batch(events: Sequence[Event]) -> bytes:
    """Return *events* in the JSON batch format."""
    return msgspec.json.encode([_members_of(event) for event in events])


def _event_of(record: _Record) -> Event | None:
    """Make the event of *record*; None where it is not plainly right."""
    event_id, source, kind = record.id, record.source, record.type
    content_type, data = record.datacontenttype, record.data
    attributes: Attributes = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": kind,
    }
    text = f"{event_id}{source}{kind}{content_type}"
    if not (record.time is record.subject is record.traceparent is record.partitionkey is None):
        text += _add_optional(record, attributes)
    if (
        not (event_id and source and kind and text.isprintable())
        or len(text) > MAX_ATTRIBUTE_BYTES
        or record.specversion != "1.0"
    ):
        return None
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    if data is msgspec.UNSET:
        return Event(attributes)
    if content_type == JSON:
        return Event(attributes, bytes(data))
    return Event(attributes, data_of(bytes(data), attributes))


def _add_optional(record: _Record, attributes: Attributes) -> str:
    """Add optional attributes; returns their text, which is not printable if the time is none."""
    text = ""
    if record.time is not None:
        attributes["time"] = record.time
        try:
            if datetime.fromisoformat(record.time).tzinfo is None:
                return "\0"
        except ValueError:
            return "\0"
    if record.subject is not None:
        attributes["subject"] = record.subject
        text = record.subject
    if record.traceparent is not None:
        attributes["traceparent"] = record.traceparent
        text += record.traceparent
    if record.partitionkey is not None:
        attributes["partitionkey"] = record.partitionkey
        text += record.partitionkey
    return text


def _has_plain_values(attributes: Attributes) -> bool:
    """Tell at a glance that all values are valid; False only means that it cannot be told so."""
    try:
        text = "".join(attributes.values())  # type: ignore[arg-type]  # not all text: TypeError
        time: str = attributes.get("time", _A_TIME)  # type: ignore[assignment]
        return (
            text.isprintable()
            and len(text) <= MAX_ATTRIBUTE_BYTES
            and attributes["specversion"] == "1.0"
            and bool(attributes["id"] and attributes["source"] and attributes["type"])
            and datetime.fromisoformat(time).tzinfo is not None
        )
    except (KeyError, TypeError, ValueError):
        return False


def attribute_faults(attributes: Attributes) -> list[Fault]:
    """List every fault of *attributes*, at a glance where there is none."""
    if _has_plain_values(attributes) and _has_plain_names(attributes):
        return []
    return validate_attributes(attributes)


def _has_plain_names(attributes: Attributes) -> bool:
    extensions = attributes.keys() - _COMMON_NAMES
    return "expirytime" not in extensions and all(map(_NAME.fullmatch, extensions))


def _read_batch_slowly(body: bytes) -> list[Event]:
    try:
        raws = _raws.decode(body)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise malformed(
            [Fault("", f"a batch is a JSON array of events: {_first_line(exc)}")]
        ) from exc
    faults: list[Fault] = []
    events = [_event_of_json(raw, f"events[{i}]", faults) for i, raw in enumerate(raws)]
    if faults:
        raise malformed(faults)
    return [event for event in events if event is not None]


def _event_of_json(body: bytes | msgspec.Raw, where: str, faults: list[Fault]) -> Event | None:
    """Read one event of the JSON format, adding its faults to *faults*."""
    try:
        members = _members.decode(body)
    except (msgspec.MsgspecError, RecursionError) as exc:
        faults.append(Fault(where, f"an event is a JSON object: {_first_line(exc)}"))
        return None
    own: list[Fault] = []
    data = members.pop("data", None)
    data_base64 = members.pop("data_base64", None)
    attributes = _scalars(members, own)
    attributes.setdefault("specversion", "1.0")
    own += attribute_faults(attributes)
    payload: bytes | None = None
    if data is not None and data_base64 is not None:
        own.append(Fault("data", "give data or data_base64, not both"))
    elif data_base64 is not None:
        payload = binary_data(data_base64, own)
    elif data is not None:
        payload = data_of(bytes(data), attributes)
    if own:
        prefix = f"{where}." if where else ""
        faults += (Fault(prefix + fault.pointer, fault.detail) for fault in own)
    return Event(attributes, payload)


def _scalars(members: dict[str, msgspec.Raw], faults: list[Fault]) -> Attributes:
    attributes: Attributes = {}
    for name, raw in members.items():
        try:
            value = read_scalar(raw)
        except (msgspec.MsgspecError, RecursionError):
            faults.append(Fault(name, "must be a string, an integer or a boolean"))
            attributes[name] = "?"  # present, so that it is not called missing as well
            continue
        if value is not None:
            attributes[name] = value
    return attributes


def binary_data(raw: msgspec.Raw, faults: list[Fault]) -> bytes | None:
    """Return the data of a `data_base64` member, or add to *faults*."""
    if bytes(raw) == b"null":
        return None
    try:
        return base64.b64decode(_text.decode(raw), validate=True)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        faults.append(Fault("data_base64", "is not base64"))
        return None


def data_of(raw: bytes, attributes: Attributes) -> bytes:
    """Return the data of a `data` member: JSON as it stands, a text of another type unescaped.

    Its absence means application/json; that is written down, for other formats do not imply it.
    """
    content_type = attributes.setdefault("datacontenttype", JSON)
    if content_type == JSON or is_json_type(str(content_type)):
        return raw
    return _text.decode(raw).encode() if raw.startswith(b'"') else raw


def _check_utf8(body: bytes) -> None:
    """Refuse what is no UTF-8: `msgspec.Raw` checks the syntax of what it skips, not its text."""
    try:
        body.isascii() or body.decode()
    except UnicodeDecodeError as exc:
        raise malformed([Fault("", f"is not valid UTF-8: {exc}")]) from exc


def _members_of(event: Event) -> dict[str, object]:
    members: dict[str, object] = dict(event.attributes)  # msgspec writes bytes as base64
    data = event.data
    if data is None:
        return members
    content_type = str(members.get("datacontenttype", ""))
    if is_json_type(content_type):
        if is_json(data):
            members["data"] = msgspec.Raw(data)
            return members
    elif content_type.startswith("text/"):
        try:
            members["data"] = data.decode()
        except UnicodeDecodeError:
            pass
        else:
            return members
    members["data_base64"] = data
    return members


def is_json(data: bytes) -> bool:
    """Tell whether *data* is JSON text; what a handler declares as JSON need not be."""
    try:
        _check_utf8(data)
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError, InvalidArgumentError):
        return False
    return True


def _first_line(exc: BaseException) -> str:
    return str(exc).splitlines()[0] if str(exc) else type(exc).__name__
