"""What a Dapr sidecar makes of an event: the envelope it publishes, and what it hands to a stream.

Follows the Go code of Dapr 1.18 where it alters events: JSON read into float64 and written with
sorted keys, `topic` and `pubsubname` overwritten, `traceparent` replaced when there is no
`traceid`, data of unknown content types gone.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventRequest
from google.protobuf import json_format

OWN_FIELDS = frozenset(
    ("id", "source", "datacontenttype", "type", "specversion", "data", "data_base64")
)
LARGEST_PLAIN = 1e21  # encoding/json writes an exponent from here on
SMALLEST_PLAIN = 1e-6
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class Number(str):
    """A number kept as it was written, Go's json.Number."""

    __slots__ = ()


class EnvelopeError(Exception):
    """The sidecar cannot make an event of this message."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What a client asked to have published."""

    pubsub: str
    topic: str
    data: bytes
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def encode(value: Any) -> str:
    """Write JSON as Go's encoding/json does."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        text = json.dumps(re.sub("[\ud800-\udfff]", "\ufffd", value), ensure_ascii=False)
        return re.sub("[<>&\u2028\u2029]", lambda found: ESCAPES[found[0]], text)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode(k)}:{encode(value[k])}" for k in sorted(value)) + "}"
    return "[" + ",".join(encode(item) for item in value) + "]"


def envelope_of(publication: Publication, *, app_id: str, trace: str) -> bytes:
    """Return the bytes that go to the broker."""
    if is_type(publication.content_type, "application/cloudevents+json"):
        event = _completed(publication, trace)
    else:
        event = _made(publication, app_id, trace)
    if ttl := publication.metadata.get("ttlInSeconds"):
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=int(ttl))
        event["expiration"] = expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    return encode(event).encode()


def raw_event(data: bytes, topic: str, pubsub: str) -> dict[str, Any]:
    """Return the event around a raw payload: a new id at each delivery."""
    return {
        "id": str(uuid.uuid4()),
        "specversion": "1.0",
        "datacontenttype": "application/octet-stream",
        "source": "Dapr",
        "type": "com.dapr.event.sent",
        "topic": topic,
        "pubsubname": pubsub,
        "data_base64": base64.b64encode(data).decode(),
    }


def parsed(data: bytes) -> dict[str, Any]:
    """Read a message of the broker as the subscriber's side does: every number a float64."""
    try:
        event = json.loads(_text(data), parse_int=float, parse_float=float)
    except ValueError as error:
        raise EnvelopeError(f"error deserializing cloud event: {error}") from error
    if event is not None and not isinstance(event, dict):
        raise EnvelopeError("error deserializing cloud event: not an object")
    return event or {}


def is_expired(event: dict[str, Any]) -> bool:
    try:
        return dt.datetime.fromisoformat(event["expiration"]) < dt.datetime.now(dt.UTC)
    except (KeyError, TypeError, ValueError):
        return False


def request_of(event: dict[str, Any], *, topic: str, pubsub: str) -> TopicEventRequest:
    """Return what the stream carries for *event*."""
    content_type = _word(event, "datacontenttype")
    request = TopicEventRequest(
        id=_word(event, "id"),
        source=_word(event, "source"),
        data_content_type=content_type,
        type=_word(event, "type"),
        spec_version=_word(event, "specversion"),
        topic=topic,
        pubsub_name=pubsub,
        path="/",
        data=_data(event, content_type),
    )
    extensions = {key: value for key, value in event.items() if key not in OWN_FIELDS}
    json_format.Parse(encode(extensions), request.extensions)
    return request


def is_type(content_type: str, expected: str) -> bool:
    return content_type.lower().split(";", 1)[0] == expected


def _data(event: dict[str, Any], content_type: str) -> bytes:
    if (coded := event.get("data_base64")) is not None:
        try:
            return base64.b64decode(coded, validate=True)
        except (binascii.Error, TypeError) as error:
            raise EnvelopeError(f"unable to base64 decode: {error}") from error
    data = event.get("data")
    if data is None:
        return b""
    if content_type.lower().startswith("text/") or is_type(content_type, "application/xml"):
        if not isinstance(data, str):
            raise EnvelopeError("unexpected data type encountered in envelope")
        return data.encode()
    if is_type(content_type, "application/json") or is_type(
        content_type, "application/cloudevents+json"
    ):
        return encode(data).encode()
    return b""  # any other type with "data": lost


def _completed(publication: Publication, trace: str) -> dict[str, Any]:
    try:
        event = json.loads(_text(publication.data), parse_int=Number, parse_float=Number)
    except ValueError as error:
        raise EnvelopeError(f"cannot create cloudevent: {error}") from error
    if not isinstance(event, dict):
        raise EnvelopeError("cannot create cloudevent: not an object")
    event.setdefault("time", _now())
    if "traceid" not in event:
        event["traceid"] = event["traceparent"] = trace
    event.setdefault("tracestate", "")
    event["topic"] = publication.topic
    event["pubsubname"] = publication.pubsub
    for key, default in (
        ("source", "Dapr"),
        ("type", "com.dapr.event.sent"),
        ("specversion", "1.0"),
    ):
        if event.get(key) is None:
            event[key] = default
    return event


def _made(publication: Publication, app_id: str, trace: str) -> dict[str, Any]:
    overrides = {key.lower(): value for key, value in publication.metadata.items()}
    content_type = publication.content_type or "text/plain"
    traced = overrides.get("cloudevent.traceparent") or overrides.get("cloudevent.traceid") or trace
    event: dict[str, Any] = {
        "id": overrides.get("cloudevent.id") or str(uuid.uuid4()),
        "specversion": "1.0",
        "datacontenttype": content_type,
        "source": overrides.get("cloudevent.source") or app_id,
        "type": overrides.get("cloudevent.type") or "com.dapr.event.sent",
        "topic": publication.topic,
        "pubsubname": publication.pubsub,
        "traceid": traced,
        "traceparent": traced,
        "tracestate": overrides.get("cloudevent.tracestate", ""),
        "time": _now(),
    }
    if subject := overrides.get("cloudevent.subject"):
        event["subject"] = subject
    text = _text(publication.data)
    if is_type(content_type, "application/json"):
        try:
            event["data"] = json.loads(text, parse_int=Number, parse_float=Number)
        except ValueError:
            event["data"] = text
    elif is_type(content_type, "application/octet-stream") or is_type(
        content_type, "application/cloudevents+protobuf"
    ):
        event["data_base64"] = base64.b64encode(publication.data).decode()
    else:
        event["data"] = text
    return event


def _float(value: float) -> str:
    if value and not SMALLEST_PLAIN <= abs(value) < LARGEST_PLAIN:
        return re.sub(r"e([+-])0(\d)$", r"e\1\2", repr(value))
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _text(data: bytes) -> str:
    """Decode as Go does: one U+FFFD for each byte that is no UTF-8."""
    return re.sub("[\udc80-\udcff]", "\ufffd", data.decode("utf-8", "surrogateescape"))


def _word(event: dict[str, Any], key: str) -> str:
    value = event.get(key)
    return value if isinstance(value, str) else ""


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
