"""What user code returns, yields and publishes, turned into outputs in wire form.

output = [topic | nil, type | nil, source | nil, subject | nil, datacontenttype | nil,
          data: bin | nil, extensions: map | nil]

`process` returns data, unless it says `Event`: a dict is never guessed to be an event. `Process`,
the seed form, returns dicts that are events as soon as they have one of an event's own keys.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from workmanager_executor.contract import OutputError, OutputTooLarge
from workmanager_executor.event import Event, is_json
from workmanager_executor.frames import MAX_FRAME_BYTES
from workmanager_executor.values import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Callable, List

    Output = List[object]
    AddResult = Callable[["Outputs", object], None]

JSON_TYPE = "application/json"
BYTES_TYPE = "application/octet-stream"
SEED_EVENT_KEYS = frozenset(("type", "source", "data", "topic", "subject"))
# One outcome has to fit a frame beside others that wait for the same flush.
MAX_TASK_BYTES = MAX_FRAME_BYTES - 1024 * 1024

_OWN_PLACES = ("topic", "type", "source", "subject", "datacontenttype")
_OWN_NAMES = frozenset(_OWN_PLACES)
_SET_BY_US = frozenset(("id", "specversion", "time"))
_EXTENSION_NAME = re.compile(r"[a-z0-9]{1,64}")
_INT_LIMIT = 2**31  # CloudEvents 1.0, "Type System": Integer is a signed 32-bit number
_FRAME_OVERHEAD_BYTES = 64


class Outputs:
    """The outputs of one attempt, bounded in number and size."""

    __slots__ = ("_max_bytes", "_max_count", "items", "size_bytes")

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self.items: list[Output] = []
        self.size_bytes = 0
        self._max_count = max_count
        self._max_bytes = min(max_bytes, MAX_TASK_BYTES)

    def add(self, output: Output) -> None:
        """Append one output in wire form.

        Raises:
            OutputTooLarge: It is one too many, or all together are too large.
        """
        if len(self.items) >= self._max_count:
            raise OutputTooLarge(f"more than {self._max_count} outputs")
        size_bytes = self.size_bytes + _size(output)
        if size_bytes > self._max_bytes:
            raise OutputTooLarge(f"outputs of {size_bytes} bytes, {self._max_bytes} are allowed")
        self.items.append(output)
        self.size_bytes = size_bytes


def add_result(outputs: Outputs, result: object) -> None:
    """Add what `process` returned or yielded: None, an Event, a list with Events, or data."""
    if result is None:
        return
    if isinstance(result, Event):
        outputs.add(event_output(result))
    elif isinstance(result, (list, tuple)) and any(isinstance(item, Event) for item in result):
        for index, item in enumerate(result):
            if not isinstance(item, Event):
                kind = type(item).__name__
                raise OutputError(f"$[{index}]: a list with Events holds a {kind}, too")
            outputs.add(event_output(item))
    else:
        outputs.add(data_output(result))


def add_seed_result(outputs: Outputs, result: object) -> None:
    """Add what `Process` returned or yielded: None, a dict, or a list in which each is an event."""
    if isinstance(result, (list, tuple)):
        for item in result:
            add_seed_item(outputs, item)
    else:
        add_seed_item(outputs, result)


def add_batch_result(outputs: Outputs, result: object) -> None:
    """Add what `process_batch` returned: in a list, each item is an output."""
    if isinstance(result, (list, tuple)):
        for item in result:
            add_result(outputs, item)
    else:
        add_result(outputs, result)


def add_seed_item(outputs: Outputs, item: object) -> None:
    """Add one seed event: a dict with an event's keys in any case, an Event, or data."""
    if item is None:
        return
    if isinstance(item, Event):
        outputs.add(event_output(item))
        return
    fields = _seed_fields(item)
    if fields is None:
        outputs.add(data_output(item))
        return
    data = fields.pop("data", None)
    kept = {name: fields[name] for name in fields if name not in _SET_BY_US}
    outputs.add(_output(kept, data))


def event_output(event: Event) -> Output:
    """Return *event* in wire form; a received one goes on with its data as it came."""
    fields: dict[str, object] = dict(event.attributes)
    if event.is_received:
        for name in _SET_BY_US:
            fields.pop(name, None)
    data = event.raw_data if event.is_received else event.data
    fields["topic"] = event.topic
    return _output(fields, data)


def data_output(data: object) -> Output:
    """Return *data* as an output without attributes of its own."""
    media_type, body = _encode(None, data)
    return [None, None, None, None, media_type, body, None]


def _seed_fields(item: object) -> dict[str, object] | None:
    """Return *item* with its keys in lower case if it is an event, else None."""
    if not isinstance(item, dict) or not all(isinstance(key, str) for key in item):
        return None
    fields = {key.lower(): value for key, value in item.items()}
    return fields if SEED_EVENT_KEYS & fields.keys() else None


def _output(fields: Mapping[str, object], data: object) -> Output:
    topic, kind, source, subject, media_type = (
        None if fields.get(name) is None else _text(name, fields[name]) for name in _OWN_PLACES
    )
    media_type, body = _encode(media_type, data)
    extensions = {
        name: _extension(name, value)
        for name, value in fields.items()
        if name not in _OWN_NAMES and value is not None
    }
    return [topic, kind, source, subject, media_type, body, extensions or None]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise OutputError(f"{name}: a text that is not empty is needed, not {value!r:.100}")
    return _unicode(name, value)


def _extension(name: str, value: object) -> object:
    if not _EXTENSION_NAME.fullmatch(name):
        raise OutputError(f"{name[:100]!r} is no attribute name: lower-case letters and digits")
    if isinstance(value, str):
        return _unicode(name, value)
    if isinstance(value, (bool, bytes)):
        return value
    if isinstance(value, int) and -_INT_LIMIT <= value < _INT_LIMIT:
        return int(value)
    raise OutputError(f"{name}: an attribute is a text, a bool, bytes or a 32-bit whole number")


def _unicode(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise OutputError(f"{name}: text with a lone surrogate") from None
    return str(value)


def _encode(media_type: str | None, data: object) -> tuple[str | None, bytes | None]:
    """Return the media type and the bytes of *data*."""
    if data is None:
        return media_type, None
    if isinstance(data, (bytes, bytearray, memoryview)):
        return media_type or BYTES_TYPE, bytes(data)
    if media_type is None:
        return JSON_TYPE, to_json(data)
    if is_json(media_type.partition(";")[0].strip().lower()):
        return media_type, to_json(data)
    if isinstance(data, str):
        return media_type, _unicode("data", data).encode()
    raise OutputError(f"data of type {media_type} has to be bytes or text")


def _size(output: Output) -> int:
    """Return about how many bytes *output* takes in a frame, never fewer."""
    size = _FRAME_OVERHEAD_BYTES
    for value in output:
        if isinstance(value, bytes):
            size += len(value)
        elif isinstance(value, str):
            size += len(value) if value.isascii() else 4 * len(value)
        elif isinstance(value, dict):
            size += _size([part for pair in value.items() for part in pair])
    return size
