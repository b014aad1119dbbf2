"""One HTTP/1.1 connection to the service, over TCP, TLS or a Unix socket."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workmanager.client.http1 import AnswerReader, Head, MalformedAnswerError, encode_request
from workmanager.client.problems import (
    ClientTimeoutError,
    ConnectionLostError,
    NoSupervisorError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workmanager.client.rest_form import HttpForm
    from workmanager.client.target import Target

CONNECT_TIMEOUT_S = 5.0
READ_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024  # a page of 1,000 dead letters with their events stays below


@dataclass(frozen=True, slots=True)
class Response:
    """What came back: *headers* have names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """Carries one request at a time; `is_reusable` says whether another may follow.

    Args:
        timeout_s: The longest silence of the service, in seconds, before a call gives up.
    """

    def __init__(self, target: Target, *, timeout_s: float) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._socket = _connect(target, min(timeout_s, CONNECT_TIMEOUT_S))
        self._reader = AnswerReader()
        self._first = b""  # of the body, where it came with the head

    @property
    def is_reusable(self) -> bool:
        """Tell whether the connection is open and idle; the service closes those that idle long."""
        reader = self._reader
        if not reader.is_done or reader.head is None or not reader.head.is_kept or reader.excess:
            return False
        return not self._target.is_tls and _is_silent(self._socket)

    def close(self) -> None:
        """Close the socket; a call under way is given up."""
        self._socket.close()

    def call(self, request: HttpForm, *, timeout_s: float) -> Response:
        """Send *request* and return the whole answer.

        Raises:
            ConnectionLostError: The connection ended first, or what came back is not HTTP.
            ClientTimeoutError: The service said nothing for *timeout_s* seconds.
            RequestHeaderError: The request cannot be sent; nothing was.
        """
        head = self.open(request, timeout_s=timeout_s)
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise self._lost(f"over {MAX_BODY_BYTES} bytes came")
        return Response(head.status, head.headers, bytes(body))

    def open(self, request: HttpForm, *, timeout_s: float) -> Head:
        """Send *request* and return the head of the answer; `chunks` has its body."""
        headers = {"host": self._target.authority, **request.headers}
        raw = encode_request(request.method, request.path, headers, request.body)
        self._reader = AnswerReader()
        self._first = b""
        self._timeout_s = timeout_s
        self._socket.settimeout(timeout_s)
        unsent = self._send(raw)
        try:
            while self._reader.head is None:
                self._first += self._receive()
        except ConnectionLostError as lost:
            raise unsent or lost from lost  # the first of the two says why
        return self._reader.head

    def chunks(self) -> Iterator[bytes]:
        """Yield the body of the answer that `open` began, as it arrives."""
        if self._first:
            yield self._first
        while not self._reader.is_done:
            if chunk := self._receive():
                yield chunk

    def _send(self, raw: bytes) -> ConnectionLostError | None:
        """Send it all; where the service stops reading it may still have answered (a 413, say)."""
        try:
            self._socket.sendall(raw)
        except TimeoutError as error:
            raise self._timed_out() from error
        except OSError as error:
            return ConnectionLostError(str(self._target), why(error))
        return None

    def _receive(self) -> bytes:
        """Receive something; return what is body of it."""
        try:
            return self._reader.feed(self._socket.recv(READ_BYTES))
        except TimeoutError as error:
            raise self._timed_out() from error
        except (OSError, MalformedAnswerError) as error:
            raise self._lost(why(error)) from error

    def _lost(self, why: str) -> ConnectionLostError:
        self.close()
        return ConnectionLostError(str(self._target), why)

    def _timed_out(self) -> ClientTimeoutError:
        self.close()  # a late answer must not be read as that of the next call
        return ClientTimeoutError(str(self._target), self._timeout_s)


def _connect(target: Target, timeout_s: float) -> socket.socket:
    """Open a connected socket.

    Raises:
        NoSupervisorError: Nothing listens there, or this user may not connect.
    """
    try:
        if target.socket_path is not None:
            return _connect_unix(target.socket_path, timeout_s)
        plain = socket.create_connection((target.host, target.port), timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _wrap_tls(plain, target) if target.is_tls else plain
    except OSError as error:
        may_pass = isinstance(error, ConnectionRefusedError | FileNotFoundError)
        raise NoSupervisorError(str(target), why(error), may_pass=may_pass) from error


def _connect_unix(path: str, timeout_s: float) -> socket.socket:
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        unix.settimeout(timeout_s)
        unix.connect(path)
    except BaseException:  # closed and raised again, whatever it is
        unix.close()
        raise
    return unix


def _wrap_tls(plain: socket.socket, target: Target) -> socket.socket:
    from workmanager.client.tls import tls_context

    with closing(plain):  # wrap_socket takes the descriptor away from it when it succeeds
        return tls_context(target).wrap_socket(plain, server_hostname=target.host)


def _is_silent(plain: socket.socket) -> bool:
    """Tell whether nothing came in between two calls; the end of the stream would be something."""
    try:
        plain.setblocking(False)  # MSG_DONTWAIT would not do: Python waits for the socket's timeout
        plain.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def why(error: BaseException) -> str:
    """Say in a few words what *error* means."""
    if isinstance(error, TimeoutError):
        return "it does not take the connection"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
