"""HTTP/1.1 from the client's side, as bytes: one request out, one answer in.

Written here because of what the alternatives take to import, of the 100 ms a command has in all:
httpx2 140 ms, http.client 30 ms (all of `email`), h11 20 ms. It reads what RFC 9112 makes plain and
refuses the rest: an answer whose length can be read in two ways is not read at all.

Source: RFC 9112, sections 4 (status line), 5 (fields), 6.3 (message body length), 7.1 (chunks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workmanager.client.problems import RequestHeaderError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

MAX_HEAD_BYTES = 64 * 1024
MAX_LINE_BYTES = 4096  # of a chunk's size and its extensions

_NO_BODY = frozenset({204, 304})
_FIRST_FINAL_STATUS = 200
_SWITCHING_PROTOCOLS = 101
_CONTROLS = frozenset(chr(code) for code in (*range(32), 127))


class MalformedAnswerError(Exception):
    """What came is not an HTTP/1.1 answer, or ended before it was whole."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer; names are in lower case, repeated ones are joined."""

    status: int
    headers: dict[str, str]
    is_kept: bool
    """Whether the connection stays open behind this answer, going by its head."""


def encode_request(method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the bytes of a request; *path* is quoted already and holds the query.

    Raises:
        RequestHeaderError: A header holds a control character, or one outside Latin-1.
    """
    lines = [f"{method} {path} HTTP/1.1"]
    for name, value in headers.items():
        if _CONTROLS.intersection(value):
            raise RequestHeaderError(f"the header {name} would hold a control character")
        lines.append(f"{name}: {value}")
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"content-length: {len(body)}")
    try:
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
    except UnicodeEncodeError as error:
        raise RequestHeaderError("a header would hold a character outside Latin-1") from error


class AnswerReader:
    """Reads one answer out of chunks of any size.

    `head` is set as soon as it is whole; `is_done` tells that the answer is. What comes behind it
    is kept in `excess`: a service that sends more than it was asked for is not asked again.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self.is_done = False
        self._buffer = bytearray()
        self._is_ended = False
        self._body: list[bytes] = []
        self._parser = self._parse()
        next(self._parser)

    @property
    def excess(self) -> bytes:
        """What came behind the answer."""
        return bytes(self._buffer) if self.is_done else b""

    def feed(self, chunk: bytes) -> bytes:
        """Take what was received, b"" being the end of the stream; return what is body of it.

        Raises:
            MalformedAnswerError: It is no answer, or ended too early.
        """
        self._buffer += chunk
        self._is_ended = not chunk
        if not self.is_done:
            self.is_done = next(self._parser, True) is True
        if self._is_ended and not self.is_done:
            raise MalformedAnswerError("the answer ended before it was whole")
        body, self._body = self._body, []
        return b"".join(body)

    def _parse(self) -> Generator[None]:
        """Parse step by step; each `yield` waits for more bytes."""
        yield
        head = yield from self._head()
        while head.status < _FIRST_FINAL_STATUS:
            if head.status == _SWITCHING_PROTOCOLS:
                raise MalformedAnswerError("it changes to another protocol")
            head = yield from self._head()
        self.head = head
        length = _body_length(head)
        if head.headers.get("transfer-encoding"):
            yield from self._chunks()
        elif length is not None:
            yield from self._take(length)
        else:
            yield from self._rest()

    def _head(self) -> Generator[None, None, Head]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise MalformedAnswerError(f"its head is longer than {MAX_HEAD_BYTES} bytes")
            yield
        text = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 4]
        return _parse_head(text.split("\r\n"))

    def _take(self, count: int) -> Generator[None]:
        while count:
            piece = bytes(self._buffer[:count])
            del self._buffer[: len(piece)]
            count -= len(piece)
            self._body.append(piece)
            if count:
                yield

    def _rest(self) -> Generator[None]:
        while not self._is_ended:
            self._body.append(bytes(self._buffer))
            self._buffer.clear()
            yield

    def _chunks(self) -> Generator[None]:
        while size := _chunk_size((yield from self._line())):
            yield from self._take(size)
            if (yield from self._line()):
                raise MalformedAnswerError("a chunk is longer than it says")
        while (yield from self._line()):
            pass  # trailers: none of ours means anything

    def _line(self) -> Generator[None, None, bytes]:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > MAX_LINE_BYTES:
                raise MalformedAnswerError("a line between chunks does not end")
            yield
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line


def _parse_head(lines: list[str]) -> Head:
    version, _, rest = lines[0].partition(" ")
    status = rest[:3]
    is_status = (
        len(status) == 3 and status.isascii() and status.isdigit() and rest[3:4] in ("", " ")
    )
    if version not in ("HTTP/1.1", "HTTP/1.0") or not is_status:
        raise MalformedAnswerError("it is not HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedAnswerError("it holds a header line that is none")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    options = [option.strip() for option in headers.get("connection", "").lower().split(",")]
    return Head(int(status), headers, version == "HTTP/1.1" and "close" not in options)


def _body_length(head: Head) -> int | None:
    """Return how long the body is; None where chunks or the end of the stream tell."""
    coding = head.headers.get("transfer-encoding")
    text = head.headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or text is not None:
            raise MalformedAnswerError("its length can be read in two ways")
        return None
    if head.status in _NO_BODY:
        return 0
    if text is not None and not (text.isascii() and text.isdigit()):
        raise MalformedAnswerError("its Content-Length is no number")
    return None if text is None else int(text)


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip(b" \t")
    if not digits or len(digits) > 8 or digits.strip(b"0123456789abcdefABCDEF"):
        raise MalformedAnswerError("a chunk does not say how long it is")
    return int(digits, 16)
