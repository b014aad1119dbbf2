"""Events on their way through the sidecar: nothing of them may change, or it is said.

Dapr's envelope is lossy: a stream gives data of unknown content types as nothing, numbers as
float64, attributes as a protobuf Struct; publishing sorts keys and overwrites `traceparent`. With
the metadata `rawPayload` the sidecar leaves the bytes alone, in both directions. So events are
published as full CloudEvents (JSON format) in a raw payload, which any subscriber of Dapr reads as
an event, and subscriptions ask for the raw payload and find the event in it.

A message that is no CloudEvent becomes one whose data are its bytes. An envelope that the sidecar
made all the same is taken as it is; what it may have lost is a *finding*, told in the event's
attribute `wmenvelope`, in the log and in a metric.

Source: dapr/dapr 1.18, pkg/runtime/pubsub/subscriptions.go, pkg/runtime/subscription;
components-contrib, pubsub/envelope.go.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
from google.protobuf import json_format

from workmanager.errors import Fault, InvalidArgumentError
from workmanager.model.cloudevents_json import (
    attribute_faults,
    binary_data,
    data_of,
    is_json,
    read_scalar,
)
from workmanager.model.event import INT32, Attributes, Event, malformed

if TYPE_CHECKING:
    from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventRequest

CONTENT_TYPE = "application/cloudevents+json"
RAW = {"rawPayload": "true"}
FINDINGS = "wmenvelope"  # the attribute that tells the findings, separated by spaces
ORIGIN = "wmtopic"  # the member that tells the topic, should the event come back by another
MALFORMED_TYPE = "workmanager.malformed"

_RAW_SOURCE, _RAW_TYPE, _BINARY = "Dapr", "com.dapr.event.sent", "application/octet-stream"
_INLINE_JSON = frozenset({"application/json", CONTENT_TYPE})
_TEXT = re.compile(r"(text/.*|application/xml)", re.ASCII)
_BIG_NUMBER = re.compile(rb"[0-9]{16}|[0-9][eE]\+?[0-9]")
_REPLACED = "\N{REPLACEMENT CHARACTER}".encode()
_NO_SPAN = "00-" + "0" * 32 + "-" + "0" * 16 + "-"
_EXACT = 2**53  # integers from here on do not all have a float64
_OTHERS = re.compile(r"[^a-z0-9]+")


class Finding(StrEnum):
    """What became of an event before it came here."""

    RAW = "raw"  # no CloudEvent; its id is new at each delivery, so a repeated one is not known
    ID = "id"  # it had no id; the same holds
    DATA = "data"  # the envelope carries no data of this content type: there may have been some
    NUMBERS = "numbers"  # integers that a float64 may have rounded
    TEXT = "text"  # characters that stand for bytes that were no UTF-8
    ATTRIBUTES = "attributes"  # values or names that CloudEvents does not know, made to fit


@dataclass(frozen=True, slots=True)
class Received:
    """What came of a delivery.

    Attributes:
        event: The event; where it is malformed, a carrier with the bytes that came as its data.
        findings: What may differ from what was published.
        error: Why it is malformed; None where it is not.
    """

    event: Event
    findings: tuple[Finding, ...] = ()
    error: InvalidArgumentError | None = None


def to_publish(event: Event, topic: str = "") -> bytes:
    """Return *event* in the JSON format, so that it is read back as it is, byte for byte.

    *topic* is where it goes, see `origin_of`. JSON and text stand inline, as other subscribers
    expect them, where nothing is lost by that.
    """
    members: dict[str, object] = dict(event.attributes)  # msgspec writes bytes as base64
    if topic:
        members[ORIGIN] = topic
    data = event.data
    if data is not None:
        content_type = str(members.get("datacontenttype", "")).partition(";")[0].strip().lower()
        if content_type in _INLINE_JSON and data.strip() == data and is_json(data):
            members["data"] = msgspec.Raw(data)
        elif _TEXT.fullmatch(content_type) and (text := _utf8(data)) is not None:
            members["data"] = text
        else:
            members["data_base64"] = data
    return msgspec.json.encode(members)


def from_request(request: TopicEventRequest) -> Received:
    """Return the event of a delivery; never raises."""
    findings: list[Finding] = []
    try:
        if _is_raw(request):
            event = _from_raw(request, findings)
        else:
            event = _from_envelope(request, findings)
        _tidy(event.attributes, request)
        faults = attribute_faults(event.attributes)
        if faults:
            raise malformed(faults)
    except InvalidArgumentError as error:
        return Received(_carrier(request, error), tuple(findings), error)
    if findings:
        event.attributes[FINDINGS] = " ".join(dict.fromkeys(findings))
    return Received(event, tuple(dict.fromkeys(findings)))


def origin_of(request: TopicEventRequest) -> str:
    """Return the topic that the event of a raw payload was published to; empty where it is lost.

    Events that came back lie in a topic of their own. Those published here say where they went, and
    those of the sidecar's envelope; a raw message of somebody else does not.
    """
    members = _members(request.data) or {}
    for name in (ORIGIN, "topic"):
        if name not in members or (name != ORIGIN and "pubsubname" not in members):
            continue
        value = _scalar(bytes(members[name]), [])
        if isinstance(value, str):
            return value
    return ""


# -- the raw payload -----------------------------------------------------------------------------


def _is_raw(request: TopicEventRequest) -> bool:
    return (
        request.data_content_type == _BINARY
        and request.type == _RAW_TYPE
        and request.source == _RAW_SOURCE
    )


def _from_raw(request: TopicEventRequest, findings: list[Finding]) -> Event:
    members = _members(request.data)
    if members is None:
        return _wrapped(request, findings)
    payload, encoded = members.pop("data", None), members.pop("data_base64", None)
    attributes: Attributes = {}
    for name, raw in members.items():
        value = _scalar(bytes(raw), findings)
        if value is not None:
            attributes[name] = value
    attributes = _named(attributes, findings)
    attributes.setdefault("source", _RAW_SOURCE)  # as the sidecar fills in
    attributes.setdefault("type", _RAW_TYPE)
    _identify(attributes, request, findings)
    return Event(attributes, _data(payload, encoded, attributes))


def _data(
    payload: msgspec.Raw | None, encoded: msgspec.Raw | None, attributes: Attributes
) -> bytes | None:
    if encoded is not None and bytes(encoded) != b"null":
        faults: list[Fault] = []
        data = binary_data(encoded, faults)
        if faults:
            raise malformed(faults)
        return data
    if payload is None:
        return None
    raw = bytes(payload)
    data = data_of(raw, attributes)
    content_type = str(attributes["datacontenttype"]).partition(";")[0].strip().lower()
    if data is raw and raw.startswith(b'"') and content_type not in _INLINE_JSON:
        # The sidecar puts JSON of another name than these two in a string, as if it were text.
        text = str(read_scalar(raw)).encode()
        return text if is_json(text) else data
    return data


def _members(data: bytes) -> dict[str, msgspec.Raw] | None:
    """Return the members of a CloudEvent in the JSON format; None where *data* is none."""
    if data.lstrip()[:1] != b"{" or _utf8(data) is None:
        return None
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return None
    return members if "specversion" in members else None


def _wrapped(request: TopicEventRequest, findings: list[Finding]) -> Event:
    """Make an event of a message that is none; the bytes are its data."""
    findings.append(Finding.RAW)
    data = request.data
    attributes: Attributes = {
        "specversion": "1.0",
        "id": request.id,
        "source": _place(request),
        "type": _RAW_TYPE,
        "datacontenttype": "application/json" if is_json(data) else _BINARY,
    }
    return Event(attributes, data)


# -- the sidecar's envelope ----------------------------------------------------------------------


def _from_envelope(request: TopicEventRequest, findings: list[Finding]) -> Event:
    attributes: Attributes = {"specversion": request.spec_version or "1.0"}
    extensions = json_format.MessageToDict(request.extensions)
    for name, value in extensions.items():
        fitted = _fitted(value, findings)
        if fitted is not None:
            attributes[name] = fitted
    attributes = _named(attributes, findings)
    attributes |= {"source": request.source, "type": request.type}
    if request.id:
        attributes["id"] = request.id
    _identify(attributes, request, findings)
    content_type = request.data_content_type
    if content_type:
        attributes["datacontenttype"] = content_type
    bare = content_type.partition(";")[0].strip().lower()
    is_inline_json = bare in _INLINE_JSON
    if not request.data:
        if not is_inline_json and not _TEXT.fullmatch(bare):
            findings.append(Finding.DATA)
        return Event(attributes)
    if is_inline_json and _has_big_number(request.data):
        findings.append(Finding.NUMBERS)
    if _REPLACED in request.data and (is_inline_json or _TEXT.fullmatch(bare)):
        findings.append(Finding.TEXT)
    return Event(attributes, request.data)


def _has_big_number(data: bytes) -> bool:
    """Tell whether JSON holds a number that may have been another integer once."""
    if not _BIG_NUMBER.search(data):
        return False
    try:
        return _any_big(msgspec.json.decode(data))
    except (msgspec.MsgspecError, RecursionError):
        return True


def _any_big(value: object) -> bool:
    if isinstance(value, int | float):
        return abs(value) >= _EXACT and value == int(value)
    if isinstance(value, dict):
        return any(map(_any_big, value.values()))
    return isinstance(value, list) and any(map(_any_big, value))


# -- attributes ----------------------------------------------------------------------------------


def _tidy(attributes: Attributes, request: TopicEventRequest) -> None:
    """Take out what the sidecar put in by itself, and nothing else."""
    attributes.pop(ORIGIN, None)
    if attributes.get("topic") == request.topic:
        attributes.pop("topic", None)
    if attributes.get("pubsubname") == request.pubsub_name:
        attributes.pop("pubsubname", None)
    if attributes.get("traceid") == attributes.get("traceparent"):
        attributes.pop("traceid", None)
    if str(attributes.get("traceparent", "")).startswith(_NO_SPAN):
        del attributes["traceparent"]
    for name in [name for name, value in attributes.items() if value == ""]:
        del attributes[name]  # CloudEvents has no empty attributes; Dapr sends empty trace states
    expiration = attributes.get("expiration")
    if isinstance(expiration, str) and "expirytime" not in attributes:
        attributes["expirytime"] = expiration  # with a raw payload nobody else looks at it


def _identify(attributes: Attributes, request: TopicEventRequest, findings: list[Finding]) -> None:
    if attributes.get("id"):
        return
    findings.append(Finding.ID)
    attributes["id"] = request.id if _is_raw(request) and request.id else _new_id()


def _named(attributes: Attributes, findings: list[Finding]) -> Attributes:
    """Bring names to lower-case letters and digits, as CloudEvents has them."""
    if all(not _OTHERS.search(name) for name in attributes):
        return attributes
    findings.append(Finding.ATTRIBUTES)
    out: Attributes = {}
    for name, value in attributes.items():
        short = _OTHERS.sub("", name.lower())
        if not short or short in out or (short != name and short in attributes):
            raise malformed([Fault(name, "is no attribute's name, and cannot become one")])
        out[short] = value
    return out


def _scalar(raw: bytes, findings: list[Finding]) -> str | int | bool | None:
    """Return an attribute's value; what CloudEvents has no type for becomes its JSON text."""
    try:
        value: str | int | bool | None = read_scalar(raw)
    except (msgspec.MsgspecError, RecursionError):
        findings.append(Finding.ATTRIBUTES)
        return raw.decode()
    if type(value) is int and not -INT32 <= value < INT32:
        findings.append(Finding.ATTRIBUTES)
        return str(value)
    return value


def _fitted(value: object, findings: list[Finding]) -> str | int | bool | None:
    """Return the value of a protobuf Struct likewise; all its numbers are float64."""
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= _EXACT:
            findings.append(Finding.NUMBERS)
        value = int(value)
    return _scalar(msgspec.json.encode(value), findings)


# -- inside --------------------------------------------------------------------------------------


def _carrier(request: TopicEventRequest, error: InvalidArgumentError) -> Event:
    """Keep a message that cannot be an event, with its bytes, as the data of one that can."""
    attributes: Attributes = {
        "specversion": "1.0",
        "id": request.id if request.id.isprintable() and request.id else _new_id(),
        "source": _place(request),
        "type": MALFORMED_TYPE,
        "datacontenttype": CONTENT_TYPE if _is_raw(request) else "application/protobuf",
        "wmerrormessage": "".join(c for c in str(error) if c.isprintable())[:1024],
    }
    return Event(attributes, request.data if _is_raw(request) else request.SerializeToString())


def _place(request: TopicEventRequest) -> str:
    return f"/dapr/{request.pubsub_name}/{request.topic}"


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _new_id() -> str:
    return str(uuid.uuid4())
