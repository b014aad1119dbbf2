"""A real socket server whose answers are written down beforehand, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass, field

import h11
import pytest
import trustme

EMPTY_OBJECT = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Scripted:
    """Gives its answers one after the other; an empty one hangs up instead, None says nothing."""

    listener: socket.socket
    answers: list[bytes | None] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                try:
                    peer, _ = self.listener.accept()
                except ssl.SSLError:  # the client did not trust us
                    continue
                self.connections += 1
                threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            peer.settimeout(10)
            http = h11.Connection(h11.SERVER)
            while request := _receive(peer, http):
                self.asked.append(request)
                reply = self.answers.pop(0) if self.answers else EMPTY_OBJECT
                if reply == b"":
                    return
                if reply is not None:
                    peer.sendall(reply)
                    if b"connection: close" in reply:
                        return
                http = h11.Connection(h11.SERVER)


def _receive(peer: socket.socket, http: h11.Connection) -> Asked | None:
    asked = None
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(peer.recv(65536))
        elif isinstance(event, h11.Request):
            headers = {name.decode(): value.decode() for name, value in event.headers}
            asked = Asked(event.method.decode(), event.target.decode(), headers, b"")
        elif isinstance(event, h11.Data):
            asked.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return asked
        else:
            return None


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        scripted = Scripted(listener)
        thread = threading.Thread(target=scripted.serve)
        thread.start()
        yield scripted
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.fixture
def unix_server(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "workmanager.sock"))
    listener.listen()
    with listener:
        scripted = Scripted(listener)
        thread = threading.Thread(target=scripted.serve)
        thread.start()
        yield scripted
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.fixture
def tls_server(monkeypatch, tmp_path):
    """Like `server`, behind TLS with an authority that OpenSSL is told to trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        with context.wrap_socket(plain, server_side=True) as listener:
            scripted = Scripted(listener)
            thread = threading.Thread(target=scripted.serve)
            thread.start()
            yield scripted
            socket.socket.shutdown(listener, socket.SHUT_RDWR)
        thread.join(10)
