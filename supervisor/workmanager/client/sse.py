"""Server-sent events, read from chunks of any size.

Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream".
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_EVENT_BYTES = (
    1024 * 1024
)  # a log line has at most 16 KiB; a stream without line ends stops here


class EventStreamError(Exception):
    """The stream holds an event larger than `MAX_EVENT_BYTES`; it is not one of ours."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event: *id* is the token to resume after it, empty where the service sends none."""

    data: str
    name: str = "message"
    id: str = ""


class EventStreamReader:
    """Turns the chunks of one stream into its events."""

    def __init__(self) -> None:
        self._buffer = b""
        self._data: list[str] = []
        self._name = ""
        self._id = ""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take one chunk; return the events that it completes.

        Raises:
            EventStreamError: A line or an event is longer than `MAX_EVENT_BYTES`.
        """
        lines = (self._buffer + chunk).replace(b"\r\n", b"\n").split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise EventStreamError(f"a line is longer than {MAX_EVENT_BYTES} bytes")
        return [event for line in lines if (event := self._line(line.decode(errors="replace")))]

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
            if sum(map(len, self._data)) > MAX_EVENT_BYTES:
                raise EventStreamError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        elif field == "event":
            self._name = value
        elif field == "id":
            self._id = value
        return None  # a comment (":" first) or an unknown field is passed over

    def _dispatch(self) -> ServerSentEvent | None:
        data, self._data = self._data, []
        name, self._name = self._name, ""
        if not data:
            return None
        return ServerSentEvent("\n".join(data), name or "message", self._id)
