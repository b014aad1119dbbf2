"""CloudEvents over HTTP: binary, structured and batch mode, to events and back.

Source: CloudEvents 1.0.2, HTTP protocol binding, section 3.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from workmanager.errors import Fault, InvalidArgumentError, Reason
from workmanager.model.cloudevents_json import (
    JSON,
    attribute_faults,
    is_json,
    read_batch,
    read_structured,
    write_batch,
    write_structured,
)
from workmanager.model.event import Attributes, Event, malformed
from workmanager.policy.sampling import parse_traceparent

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BATCH",
    "STRUCTURED",
    "read_batch",
    "read_binary",
    "read_event",
    "read_events",
    "read_structured",
    "write_batch",
    "write_binary",
    "write_structured",
]

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

_PREFIX = b"ce-"
_CONTEXT = (b"traceparent", b"tracestate")
_SAFE = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"  # printable ASCII but space, double quote and percent
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

Headers = list[tuple[bytes, bytes]]


def read_events(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> list[Event]:
    """Read the events of an HTTP message in whichever mode its Content-Type says.

    Events without a trace context take that of the message: its sender is traced by its HTTP
    library, and does not know of events.

    Raises:
        InvalidArgumentError: With every fault (reason MALFORMED_EVENT), or the format is not one of
            ours (reason UNSUPPORTED_MEDIA_TYPE).
    """
    found = list(headers)
    events = _read(found, body)
    context = {name: value for name, value in found if name in _CONTEXT}
    if b"traceparent" in context:
        _take_context(events, context)
    return events


def _take_context(events: list[Event], context: dict[bytes, bytes]) -> None:
    texts = {name.decode(): value.decode("latin-1") for name, value in context.items()}
    if (
        parse_traceparent(texts["traceparent"]) is None
        or not texts.get("tracestate", "a").isascii()
    ):
        return
    for event in events:
        if "traceparent" not in event.attributes:
            event.attributes.update(texts)


def _read(found: Headers, body: bytes) -> list[Event]:
    content_type = _content_type(found)
    base = content_type.split(";", 1)[0].strip().lower()
    if base == BATCH:
        return read_batch(body)
    if base == STRUCTURED:
        return [read_structured(body)]
    if base.startswith("application/cloudevents"):
        raise InvalidArgumentError(
            f"{base}: only the JSON formats are read: {STRUCTURED}, {BATCH}",
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
        )
    return [read_binary(found, body)]


def read_event(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Event:
    """Read exactly one event, see `read_events`; a batch of one will do."""
    events = read_events(headers, body)
    if len(events) != 1:
        raise malformed([Fault("", f"one event is wanted, {len(events)} were sent")])
    return events[0]


def read_binary(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Event:
    """Read one event whose attributes are `ce-*` headers and whose data is *body*.

    An empty body is no data: the binding cannot tell the two apart.
    """
    faults: list[Fault] = []
    attributes: Attributes = {}
    for name, value in headers:
        if name == b"content-type":
            attributes["datacontenttype"] = value.decode("latin-1")
        elif name.startswith(_PREFIX):
            _add_header(attributes, name, value, faults)
    if not attributes.keys() - {"datacontenttype"}:
        faults.append(Fault("", f"send ce-* headers, or one of {STRUCTURED}, {BATCH}"))
    attributes.setdefault("specversion", "1.0")
    faults += attribute_faults(attributes)
    if faults:
        raise malformed(faults)
    return Event(attributes, body or None)


def write_binary(event: Event) -> tuple[Headers, bytes]:
    """Return the headers and the body of *event* in binary mode."""
    headers: Headers = []
    for name, value in event.attributes.items():
        if name != "datacontenttype":
            text = quote(_canonical(value), safe=_SAFE)
            headers.append((_PREFIX + name.encode(), text.encode("ascii")))
    content_type = event.attributes.get("datacontenttype")
    if content_type is None and event.data is not None and is_json(event.data):
        content_type = JSON  # what its absence means in the JSON format has to be said here
    if content_type is not None:
        headers.append((b"content-type", str(content_type).encode("latin-1", "replace")))
    return headers, event.data or b""


def _add_header(attributes: Attributes, name: bytes, value: bytes, faults: list[Fault]) -> None:
    key = name[len(_PREFIX) :].decode("latin-1")
    if key in attributes:
        faults.append(Fault(key, "is given more than once"))
    elif key in {"datacontenttype", "data", "data_base64"}:
        faults.append(Fault(key, "is no header: data is the body, its type is Content-Type"))
    else:
        try:
            attributes[key] = _from_header(value)
        except ValueError as exc:
            attributes[key] = "?"  # present, so that it is not called missing as well
            faults.append(Fault(key, str(exc)))


def _from_header(value: bytes) -> str:
    try:
        text = value.decode()
        text = _QUOTED.sub(lambda found: _ESCAPED.sub(r"\1", found[1]), text)
        if "%" not in text:
            return text
        if _BAD_PERCENT.search(text):
            raise ValueError("holds a percent sign that is not followed by two hex digits")
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError("is not valid UTF-8") from None


def _content_type(headers: Headers) -> str:
    values = [value for name, value in headers if name == b"content-type"]
    if len(values) > 1:
        raise malformed([Fault("datacontenttype", "Content-Type is given more than once")])
    return values[0].decode("latin-1") if values else ""


def _canonical(value: str | bool | int | bytes) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)
