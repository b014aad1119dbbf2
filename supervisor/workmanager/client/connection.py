"""One HTTP/1.1 connection to the service, over TCP, TLS or a Unix socket.

h11 and a plain socket: `http.client` takes 30 ms to import (it brings the whole of `email`), httpx2
takes 140 ms, h11 takes 8 ms; a command has 100 ms in all.
"""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11

from workmanager.client.problems import (
    ClientTimeoutError,
    ConnectionLostError,
    NoSupervisorError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workmanager.client.target import Target

CONNECT_TIMEOUT_S = 5.0
READ_BYTES = 64 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024  # a page of 1,000 dead letters with their events stays below


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask: *path* holds the query; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


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
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    @property
    def is_reusable(self) -> bool:
        """Tell whether the connection is open and idle; the service closes those that idle long."""
        is_idle = self._http.our_state is h11.IDLE and self._http.their_state is h11.IDLE
        return is_idle and not self._target.is_tls and _is_silent(self._socket)

    def close(self) -> None:
        """Close the socket; a call under way is given up."""
        self._socket.close()

    def call(self, request: Request, *, timeout_s: float | None = None) -> Response:
        """Send *request* and return the whole answer.

        Raises:
            ConnectionLostError: The connection ended first, or what came back is not HTTP.
            ClientTimeoutError: The service said nothing for *timeout_s* seconds.
        """
        status, headers = self.open(request, timeout_s=timeout_s)
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                self.close()
                raise ConnectionLostError(str(self._target), f"over {MAX_BODY_BYTES} bytes came")
        return Response(status, headers, bytes(body))

    def open(
        self, request: Request, *, timeout_s: float | None = None
    ) -> tuple[int, dict[str, str]]:
        """Send *request* and return status and headers of the answer; `chunks` has its body."""
        self._timeout_s = self._timeout_s if timeout_s is None else timeout_s
        self._socket.settimeout(self._timeout_s)
        sending = self._send(request)
        try:
            head = self._next_event()
            while isinstance(head, h11.InformationalResponse):
                head = self._next_event()
        except ConnectionLostError as lost:
            raise sending or lost from lost  # the first of the two says why
        if not isinstance(head, h11.Response):
            raise ConnectionLostError(str(self._target), "no answer came")
        return head.status_code, {
            name.decode(): value.decode("latin-1") for name, value in head.headers
        }

    def chunks(self) -> Iterator[bytes]:
        """Yield the body of the answer that `open` began, as it arrives."""
        while isinstance(event := self._next_event(), h11.Data):
            yield bytes(event.data)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()

    def _send(self, request: Request) -> ConnectionLostError | None:
        """Send it all; where the service stops reading it may still have answered (a 413, say)."""
        head = h11.Request(
            method=request.method,
            target=request.path,
            headers=[*_framing(self._target, request), *request.headers.items()],
        )
        parts = [self._http.send(head)]
        if request.body:
            parts.append(self._http.send(h11.Data(data=request.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        try:
            self._socket.sendall(b"".join(part for part in parts if part))
        except TimeoutError as error:
            raise self._timed_out() from error
        except OSError as error:
            return ConnectionLostError(str(self._target), _why(error))
        return None

    def _next_event(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(self._socket.recv(READ_BYTES))
        except TimeoutError as error:
            raise self._timed_out() from error
        except (OSError, h11.RemoteProtocolError) as error:
            raise ConnectionLostError(str(self._target), _why(error)) from error
        return event

    def _timed_out(self) -> ClientTimeoutError:
        self.close()  # a late answer must not be read as that of the next call
        return ClientTimeoutError(str(self._target), self._timeout_s)


def _framing(target: Target, request: Request) -> list[tuple[str, str]]:
    headers = [("host", target.authority)]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("content-length", str(len(request.body))))
    return headers


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
        return _wrap_tls(plain, target.host) if target.is_tls else plain
    except OSError as error:
        raise NoSupervisorError(str(target), _why(error)) from error


def _connect_unix(path: str, timeout_s: float) -> socket.socket:
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        unix.settimeout(timeout_s)
        unix.connect(path)
    except BaseException:  # closed and raised again, whatever it is
        unix.close()
        raise
    return unix


def _wrap_tls(plain: socket.socket, host: str) -> socket.socket:
    import ssl

    with closing(plain):  # wrap_socket takes the descriptor away from it when it succeeds
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


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


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not take the connection"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
