"""A CloudEvents 1.0 event: its attributes and its bytes.

Inside the service an event travels as its *wire form*, made once when it is accepted:
`msgpack [attributes: map, data: bin | nil]`. Data is never decoded in the supervisor; JSON data
stays the JSON text that the publisher sent.

Source: CloudEvents 1.0.2, sections "Context Attributes" and "Type System"; JSON event format 1.0.2.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import msgpack

from workmanager.errors import Fault, InvalidArgumentError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

Attributes = dict[str, str | int | bool | bytes]

REQUIRED = ("id", "source", "type")
MAX_ATTRIBUTE_BYTES = 64 * 1024  # one attribute; CloudEvents asks for 64 KiB a whole event
INT32 = 2**31  # CloudEvents integers are signed 32 bit

_NAME = re.compile(r"[a-z0-9]{1,64}")  # the spec says SHOULD NOT exceed 20; be liberal
_NOT_EXTENSIONS = frozenset({"data", "data_base64"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvents event: all attributes (specversion included) and the data as bytes or None."""

    attributes: Attributes
    data: bytes | None = None

    @property
    def id(self) -> str:
        """The event's id."""
        return str(self.attributes["id"])

    @property
    def source(self) -> str:
        """The event's source."""
        return str(self.attributes["source"])

    @property
    def type(self) -> str:
        """The event's type."""
        return str(self.attributes["type"])

    def pack(self) -> bytes:
        """Return the wire form."""
        return _packer.pack((self.attributes, self.data))

    @classmethod
    def unpack(cls, wire: bytes) -> Event:
        """Read a wire form that this service wrote."""
        attributes, data = msgpack.unpackb(wire, raw=False)
        return cls(attributes, data)

    def to_json(self) -> dict[str, Any]:
        """Return the event in the CloudEvents JSON format; JSON data is inlined."""
        out: dict[str, Any] = {
            name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for name, value in self.attributes.items()
        }
        if self.data is not None:
            out.update(_data_to_json(self.data, str(self.attributes.get("datacontenttype", ""))))
        return out

    @classmethod
    def from_json(cls, obj: object) -> Event:
        """Read an event in the CloudEvents JSON format.

        Raises:
            InvalidArgumentError: With every fault (reason MALFORMED_EVENT).
        """
        if not isinstance(obj, dict):
            raise malformed([Fault("", "an event is a JSON object")])
        attributes = {k: v for k, v in obj.items() if k not in _NOT_EXTENSIONS and v is not None}
        data, faults = _data_from_json(obj, attributes)
        return checked(cls(cast("Attributes", attributes), data), faults)


def checked(event: Event, faults: list[Fault] | None = None) -> Event:
    """Return *event* if its attributes are valid, with `specversion` filled in.

    Raises:
        InvalidArgumentError: With every fault (reason MALFORMED_EVENT).
    """
    event.attributes.setdefault("specversion", "1.0")
    faults = (faults or []) + validate_attributes(event.attributes)
    if faults:
        raise malformed(faults)
    return event


def malformed(faults: list[Fault]) -> InvalidArgumentError:
    """Make the error for an event that is not CloudEvents 1.0."""
    first = faults[0]
    where = f"{first.pointer}: " if first.pointer else ""
    return InvalidArgumentError(
        f"not a CloudEvents 1.0 event: {where}{first.detail}",
        reason=Reason.MALFORMED_EVENT,
        faults=faults,
    )


def validate_attributes(attributes: Mapping[str, object]) -> list[Fault]:
    """List every fault of an event's attributes; an empty list means they are valid."""
    faults = [Fault(name, "is required") for name in REQUIRED if not attributes.get(name)]
    if attributes.get("specversion") != "1.0":
        faults.append(Fault("specversion", 'must be "1.0"'))
    for name, value in attributes.items():
        detail = _attribute_fault(name, value)
        if detail:
            faults.append(Fault(str(name), detail))
    return faults


def now_text() -> str:
    """Return the present time as an RFC 3339 text in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(value: object) -> datetime | None:
    """Read an RFC 3339 time; None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return None
    return when if when.tzinfo else None


def is_json_type(content_type: str) -> bool:
    """Tell whether a media type means JSON; an absent one does (JSON event format, 3.1)."""
    base = content_type.split(";", 1)[0].strip().lower()
    return not base or base.endswith(("/json", "+json"))


def _attribute_fault(name: object, value: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "attribute names are lower-case letters and digits"
    if isinstance(value, str):
        return _text_fault(name, value)
    if name in REQUIRED or name in {"specversion", "time", "subject", "datacontenttype"}:
        return "must be a string"
    if isinstance(value, bool | bytes):
        return ""
    if isinstance(value, int):
        return "" if -INT32 <= value < INT32 else "integers are 32 bit; send larger ones as strings"
    return "must be a string, an integer or a boolean"


def _text_fault(name: str, value: str) -> str:
    if not value.isascii() or not value.isprintable():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds a lone surrogate"
        if _CONTROL.search(value):
            return "holds a control character"
    if len(value) > MAX_ATTRIBUTE_BYTES:
        return f"is longer than {MAX_ATTRIBUTE_BYTES} characters"
    if name in ("time", "expirytime") and parse_time(value) is None:
        return "must be an RFC 3339 time with an offset"
    return ""


def _data_to_json(data: bytes, content_type: str) -> dict[str, Any]:
    if is_json_type(content_type):
        try:
            return {"data": json.loads(data)}
        except ValueError:
            pass
    elif content_type.startswith("text/"):
        try:
            return {"data": data.decode()}
        except UnicodeDecodeError:
            pass
    return {"data_base64": base64.b64encode(data).decode()}


def _data_from_json(
    obj: Mapping[str, Any], attributes: dict[str, Any]
) -> tuple[bytes | None, list[Fault]]:
    if "data" in obj and "data_base64" in obj:
        return None, [Fault("data", "give data or data_base64, not both")]
    if obj.get("data_base64") is not None:
        try:
            return base64.b64decode(obj["data_base64"], validate=True), []
        except (binascii.Error, ValueError, TypeError):
            return None, [Fault("data_base64", "is not base64")]
    if "data" not in obj:
        return None, []
    return encode_data(obj["data"], str(attributes.get("datacontenttype", "")), attributes), []


def encode_data(value: object, content_type: str, attributes: dict[str, Any]) -> bytes:
    """Encode the `data` member of a JSON event; fills in `datacontenttype` where it is absent."""
    if isinstance(value, str) and content_type and not is_json_type(content_type):
        return value.encode()
    if not content_type:
        attributes["datacontenttype"] = "application/json"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
