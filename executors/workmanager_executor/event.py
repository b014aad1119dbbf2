"""The event as user code sees it, coming in and going out.

wire = msgpack([attributes: map text -> text | int | bool | bytes, data: bin | nil])

An event that came in is decoded only where user code looks at it: a handler that ignores the
attributes does not pay for them, one that ignores the data does not pay for parsing it.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from workmanager_executor.contract import DataError
from workmanager_executor.packing import unpack

if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple, Union

    AttributeValue = Union[str, int, bool, bytes]
    Attributes = Dict[str, AttributeValue]
    Wire = Tuple[Attributes, Optional[bytes]]

CORE_ATTRIBUTES = frozenset(
    ("specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time")
)
_GIVEN_BY_US = ("id", "specversion", "time")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_UNDECODED = object()
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)


class Event:
    """A CloudEvent: handed to `process`, or made by it as an output.

    Args:
        type: Event type; None takes the worker's default output type.
        data: Any JSON value; bytes go out as they are; None means no data.
        topic: Topic to publish to; None takes the worker's output topic.
        subject: CloudEvents subject.
        partitionkey: Events with the same key keep their order.
        source: None takes the worker's own source.
        datacontenttype: Media type of *data*; None means JSON, or octet-stream for bytes.
        extensions: Further CloudEvents attributes: lower-case letters and digits.

    Raises:
        TypeError: `id`, `specversion` or `time` was given; WorkManager sets them.
    """

    __slots__ = ("_attributes", "_body", "_data", "_wire", "topic")

    _attributes: Attributes | None  # None until a received event is opened
    _body: bytes | None
    _data: Any
    _wire: bytes | None  # None for an event made by user code
    topic: str | None

    def __init__(
        self,
        type: str | None = None,  # noqa: A002 - the attribute's name
        data: object = None,
        *,
        topic: str | None = None,
        subject: str | None = None,
        partitionkey: str | None = None,
        source: str | None = None,
        datacontenttype: str | None = None,
        **extensions: AttributeValue,
    ) -> None:
        for name in _GIVEN_BY_US:
            if name in extensions:
                raise TypeError(f"Event(): {name!r} is set by WorkManager and cannot be given")
        given = {
            "type": type,
            "source": source,
            "subject": subject,
            "datacontenttype": datacontenttype,
            "partitionkey": partitionkey,
            **extensions,
        }
        self.topic = topic
        self._attributes = {name: value for name, value in given.items() if value is not None}
        self._body = None
        self._data = data
        self._wire = None

    @property
    def attributes(self) -> Attributes:
        """All CloudEvents attributes by name, extensions included."""
        return self._open() if self._attributes is None else self._attributes

    @property
    def id(self) -> str:
        """Unique within the source; empty for an event made by user code."""
        return str(self.attributes.get("id", ""))

    @property
    def source(self) -> str:
        """Where the event comes from."""
        return str(self.attributes.get("source", ""))

    @property
    def type(self) -> str:
        """What happened."""
        return str(self.attributes.get("type", ""))

    @property
    def subject(self) -> str | None:
        """What it happened to, within the source; None where the event does not say."""
        value = self.attributes.get("subject")
        return None if value is None else str(value)

    @property
    def datacontenttype(self) -> str | None:
        """Media type of the data; None means JSON."""
        value = self.attributes.get("datacontenttype")
        return None if value is None else str(value)

    @property
    def time(self) -> datetime | None:
        """When it happened, in UTC; None where the event does not say or it cannot be read."""
        return _parse_time(self.attributes.get("time"))

    @property
    def extensions(self) -> Attributes:
        """The attributes beyond those CloudEvents itself defines."""
        items = self.attributes.items()
        return {name: value for name, value in items if name not in CORE_ATTRIBUTES}

    @property
    def data(self) -> Any:  # noqa: ANN401 - any JSON value, as its sender likes
        """The decoded data: a JSON value, text for `text/*`, else bytes; decoded once.

        Raises:
            DataError: It is not what `datacontenttype` says.
        """
        if self._data is _UNDECODED:
            media_type = self.attributes.get("datacontenttype")
            self._data = decode_data(media_type, self._body)
        return self._data

    @property
    def raw_data(self) -> bytes | None:
        """The data of a received event as it came; None if there is none."""
        if self._attributes is None:
            self._open()
        return self._body

    @property
    def is_received(self) -> bool:
        """Whether this event came in, rather than being made by user code."""
        return self._wire is not None

    def _open(self) -> Attributes:
        self._attributes, self._body = open_wire(self._wire or b"")
        return self._attributes

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.attributes.items())
        return f"Event({shown})"


_new = Event.__new__
_parse_json = json.JSONDecoder().decode


def received(wire: bytes) -> Event:
    """Return the event in *wire*, undecoded as yet."""
    event = _new(Event)
    event._wire = wire  # noqa: SLF001 - its other constructor
    event._attributes = None  # noqa: SLF001
    event._data = _UNDECODED  # noqa: SLF001
    event.topic = None
    return event


def received_as_dict(wire: bytes) -> dict[str, Any]:
    """Return the event in *wire* in the seed form: attributes in lower case, and decoded "data".

    Raises:
        DataError: The data is not what `datacontenttype` says.
    """
    attributes, body = open_wire(wire)
    fields: dict[str, Any] = {name.lower(): value for name, value in attributes.items()}
    fields["data"] = decode_data(attributes.get("datacontenttype"), body)
    return fields


def open_wire(wire: bytes) -> Wire:
    """Return the attributes and the raw data in *wire*."""
    opened: Any = unpack(wire)
    attributes, body = opened
    return attributes, body


def decode_data(media_type: AttributeValue | None, body: bytes | None) -> Any:  # noqa: ANN401
    """Return *body* as its media type says.

    Source:
        CloudEvents 1.0, "datacontenttype": absent means JSON; what is none then stays bytes.

    Raises:
        DataError: The body is not what the media type says.
    """
    if body is None:
        return None
    try:
        if media_type == "application/json":
            return _parse_json(body.decode())
        return _decode_other(media_type, body)
    except (ValueError, LookupError, RecursionError) as error:
        raise DataError(f"data is not valid {media_type!s:.100}: {error}") from None


def _decode_other(media_type: AttributeValue | None, body: bytes) -> Any:  # noqa: ANN401
    if media_type is None:
        try:
            return _parse_json(body.decode())
        except (ValueError, RecursionError):
            return body
    kind, _, parameters = str(media_type).partition(";")
    kind = kind.strip().lower()
    if is_json(kind):
        return _parse_json(body.decode())
    if kind.startswith("text/"):
        charset = _CHARSET.search(";" + parameters)
        return body.decode(charset.group(1) if charset else "utf-8")
    return body


def is_json(kind: str) -> bool:
    """Tell whether the media type *kind*, lower case and without parameters, is JSON."""
    return kind == "application/json" or kind.endswith(("+json", "/json"))


def _parse_time(value: object) -> datetime | None:
    """Read an RFC 3339 time; digits beyond microseconds are cut, which 3.8 cannot parse itself."""
    match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    try:
        local = datetime.fromisoformat(f"{day}T{clock}")
    except ValueError:  # such as a leap second
        return None
    local += timedelta(microseconds=int((fraction or "0").ljust(6, "0")[:6]))
    if offset not in "Zz":
        sign = -1 if offset[0] == "-" else 1
        local -= sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[4:6]))
    return local.replace(tzinfo=timezone.utc)
