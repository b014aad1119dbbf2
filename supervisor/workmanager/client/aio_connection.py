"""One HTTP/1.1 connection of the asynchronous client, on trio and on asyncio by anyio.

The same reading and the same rules as in `connection`. httpx2 would do for calls, not for streams:
on trio, ending one early leaves asynchronous generators to the garbage collector, which warns.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import anyio
import anyio.abc

from workmanager.client.connection import (
    CONNECT_TIMEOUT_S,
    MAX_BODY_BYTES,
    READ_BYTES,
    Response,
    why,
)
from workmanager.client.http1 import AnswerReader, Head, MalformedAnswerError, encode_request
from workmanager.client.problems import (
    ClientTimeoutError,
    ConnectionLostError,
    NoSupervisorError,
)
from workmanager.client.tls import tls_context

if TYPE_CHECKING:
    import socket

    from workmanager.client.rest_form import HttpForm
    from workmanager.client.target import Target

_LOST = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class AsyncConnection:
    """Carries one request at a time; `is_reusable` says whether another may follow."""

    def __init__(self, stream: anyio.abc.ByteStream, target: Target) -> None:
        self._stream = stream
        self._target = target
        self._reader = AnswerReader()
        self._first = b""  # of the body, where it came with the head

    @property
    def is_reusable(self) -> bool:
        """Tell whether the connection is open and idle; the service closes those that idle long."""
        reader = self._reader
        if not reader.is_done or reader.head is None or not reader.head.is_kept or reader.excess:
            return False
        return not self._target.is_tls and _is_silent(self._stream)

    async def close(self) -> None:
        """Close it at once; a call under way is given up."""
        await anyio.aclose_forcefully(self._stream)

    async def call(self, form: HttpForm, *, timeout_s: float) -> Response:
        """Send *form* and return the whole answer; see `connection.Connection.call`."""
        head = await self.open(form, timeout_s=timeout_s)
        body = bytearray()
        while (chunk := await self.chunk(timeout_s=timeout_s)) is not None:
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise self._lost(f"over {MAX_BODY_BYTES} bytes came")
        return Response(head.status, head.headers, bytes(body))

    async def open(self, form: HttpForm, *, timeout_s: float) -> Head:
        """Send *form* and return the head of the answer; `chunk` has its body."""
        headers = {"host": self._target.authority, **form.headers}
        raw = encode_request(form.method, form.path, headers, form.body)
        self._reader = AnswerReader()
        self._first = b""
        unsent = await self._send(raw, timeout_s)
        try:
            while self._reader.head is None:
                self._first += await self._receive(timeout_s)
        except ConnectionLostError as lost:
            raise unsent or lost from lost  # the first of the two says why
        return self._reader.head

    async def chunk(self, *, timeout_s: float) -> bytes | None:
        """Return what came of the body; None: it has ended."""
        first, self._first = self._first, b""
        while not first:
            if self._reader.is_done:
                return None
            first = await self._receive(timeout_s)
        return first

    async def _send(self, raw: bytes, timeout_s: float) -> ConnectionLostError | None:
        """Send it all; where the service stops reading it may still have answered (a 413, say)."""
        try:
            with anyio.fail_after(timeout_s):
                await self._stream.send(raw)
        except TimeoutError as error:
            raise ClientTimeoutError(str(self._target), timeout_s) from error
        except _LOST as error:
            return self._lost(why(error))
        return None

    async def _receive(self, timeout_s: float) -> bytes:
        """Receive something; return what is body of it."""
        try:
            with anyio.fail_after(timeout_s):
                raw = await self._stream.receive(READ_BYTES)
        except TimeoutError as error:
            raise ClientTimeoutError(str(self._target), timeout_s) from error
        except anyio.EndOfStream:
            raw = b""
        except _LOST as error:
            raise self._lost(why(error)) from error
        try:
            return self._reader.feed(raw)
        except MalformedAnswerError as error:
            raise self._lost(why(error)) from error

    def _lost(self, cause: str) -> ConnectionLostError:
        return ConnectionLostError(str(self._target), cause)


async def connect(target: Target) -> AsyncConnection:
    """Open a connection.

    Raises:
        NoSupervisorError: Nothing listens there, or this user may not connect.
    """
    try:
        with anyio.fail_after(CONNECT_TIMEOUT_S):
            return AsyncConnection(await _stream_to(target), target)
    except (OSError, anyio.BrokenResourceError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        may_pass = isinstance(cause, ConnectionRefusedError | FileNotFoundError)
        raise NoSupervisorError(str(target), why(cause), may_pass=may_pass) from error


async def _stream_to(target: Target) -> anyio.abc.ByteStream:
    if target.socket_path is not None:
        return await anyio.connect_unix(target.socket_path)
    if not target.is_tls:
        return await anyio.connect_tcp(target.host, target.port)
    return await anyio.connect_tcp(
        target.host,
        target.port,
        tls=True,
        ssl_context=tls_context(target),
        tls_standard_compatible=False,
    )


def _is_silent(stream: anyio.abc.ByteStream) -> bool:
    """Tell whether nothing came in between two calls; the end of the stream would be something."""
    attribute = anyio.abc.SocketAttribute.raw_socket
    raw: socket.socket | None = stream.extra(attribute, None)  # noqa: S610 - no Django here
    number = raw.fileno() if raw is not None else -1
    if number < 0:
        return False
    poll = select.poll()
    poll.register(number, select.POLLIN | select.POLLRDHUP)
    return not poll.poll(0)
