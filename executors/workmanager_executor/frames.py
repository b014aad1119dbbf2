"""Frames between supervisor and executor, as bytes.

frame = u32 big-endian length of the body (1 byte .. 16 MiB) + body
body  = msgpack array, first element the kind (text)

Both sides treat the other as hostile: what is announced too long is refused before it is buffered,
and a frame cannot blow up in memory. 16 MiB of empty arrays would become a gigabyte of Python
lists, so frames beyond `CHECKED_BYTES` have their elements counted before they are decoded; honest
large frames carry few elements with large bodies, and small ones stay on the fast path.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from workmanager_executor.packing import pack, unpack

if TYPE_CHECKING:
    from typing import List

    Frame = List[object]

MAX_FRAME_BYTES = 16 * 1024 * 1024  # sandbox study, section 7: the largest event plus its envelope
CHECKED_BYTES = 256 * 1024  # below this the worst frame costs about 20 MB for a moment
MAX_ELEMENTS = 262_144  # 256 items of 1000 elements each; about 20 MB of small objects

_HEADER = struct.Struct(">I")
_HEADER_BYTES = _HEADER.size


class FrameError(Exception):
    """The peer broke the framing; its channel cannot be trusted any more and has to be closed."""


class FrameTooLargeError(FrameError):
    """A frame exceeds a limit; split it or refuse what it carries.

    Attributes:
        size: What it has, at least, in *unit*: "bytes" or "values".
        limit: What it may have.
    """

    def __init__(self, size: int, limit: int, unit: str = "bytes") -> None:
        super().__init__(f"frame of {size} {unit} exceeds the limit of {limit} {unit}")
        self.size = size
        self.limit = limit
        self.unit = unit


def encode(frame: object, *, max_bytes: int = MAX_FRAME_BYTES) -> bytes:
    """Return *frame*, an array beginning with its kind, as header plus body.

    Raises:
        FrameTooLargeError: The peer would refuse it.
    """
    body = pack(frame)
    if len(body) > max_bytes:
        raise FrameTooLargeError(len(body), max_bytes)
    if len(body) > CHECKED_BYTES:
        _bound_elements(memoryview(body))
    return _HEADER.pack(len(body)) + body


class Decoder:
    """Cuts a byte stream into frames; chunks may end anywhere.

    Work is linear in the bytes fed. After an error the decoder stays broken: a stream whose framing
    is lost has no next frame.
    """

    __slots__ = ("_buffer", "_error", "_max_bytes")

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes
        self._error: str | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an incomplete frame held back until the rest arrives."""
        return len(self._buffer)

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Frame]:
        """Take the next bytes and return every frame completed by them, in order.

        Raises:
            FrameTooLargeError: A header announces more than the limit.
            FrameError: A body is not a msgpack array that begins with its kind, or an earlier
                call failed already.
        """
        if self._error is not None:
            raise FrameError(self._error)
        try:
            return self._cut(chunk)
        except FrameError as error:
            self._error = str(error)
            self._buffer = bytearray()
            raise

    def _cut(self, chunk: bytes | bytearray | memoryview) -> list[Frame]:
        buffer = self._buffer
        buffer += chunk
        frames: list[Frame] = []
        start, end = 0, len(buffer)
        with memoryview(buffer) as view:
            while end - start >= _HEADER_BYTES:
                body_start = start + _HEADER_BYTES
                size = self._size_at(start)
                if end - body_start < size:
                    break
                start = body_start + size
                frames.append(_decode(view[body_start:start]))
        del buffer[:start]
        return frames

    def _size_at(self, start: int) -> int:
        (size,) = _HEADER.unpack_from(self._buffer, start)
        if size > self._max_bytes:
            raise FrameTooLargeError(size, self._max_bytes)
        return int(size)


def _decode(body: memoryview) -> Frame:
    if len(body) > CHECKED_BYTES:
        _bound_elements(body)
    try:
        frame = unpack(body)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise FrameError(f"frame body is not valid msgpack: {error}") from None
    if type(frame) is not list or not frame or type(frame[0]) is not str:
        raise FrameError("frame body is not an array that begins with its kind")
    return frame


def _bound_elements(body: memoryview) -> None:
    """Refuse a body of more than `MAX_ELEMENTS` values, counted from their headers alone.

    Nesting needs no stack: the elements of an array or map follow its header in line.
    """
    position, end, count = 0, len(body), 0
    while position < end:
        count += 1
        if count > MAX_ELEMENTS:
            raise FrameTooLargeError(count, MAX_ELEMENTS, "values")
        first = body[position]
        fixed, length_bytes = _SHAPES[first]
        position += 1
        if length_bytes:
            fixed += int.from_bytes(body[position : position + length_bytes], "big")
            position += length_bytes
        position += fixed


def _shape_of(first: int) -> tuple[int, int]:
    """Return (bytes that follow, width of a length field that adds to them) for a first byte."""
    if 0xA0 <= first <= 0xBF:  # fixstr
        return first & 0x1F, 0
    if _WIDE_FIRST <= first < _WIDE_FIRST + len(_WIDE_SHAPES):
        return _WIDE_SHAPES[first - _WIDE_FIRST]
    return 0, 0  # fixint, fixmap, fixarray, nil, booleans


# msgpack specification, "Formats": ext adds one type byte; array and map headers have no body.
_WIDE_FIRST = 0xC4
_WIDE_SHAPES = (
    *((0, 1), (0, 2), (0, 4)),  # bin
    *((1, 1), (1, 2), (1, 4)),  # ext
    *((4, 0), (8, 0)),  # float
    *((1, 0), (2, 0), (4, 0), (8, 0)),  # unsigned
    *((1, 0), (2, 0), (4, 0), (8, 0)),  # signed
    *((2, 0), (3, 0), (5, 0), (9, 0), (17, 0)),  # fixext
    *((0, 1), (0, 2), (0, 4)),  # str
    *((2, 0), (4, 0), (2, 0), (4, 0)),  # array, map
)
_SHAPES = [_shape_of(first) for first in range(256)]
