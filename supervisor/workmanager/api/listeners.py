"""What the server listens on: TCP addresses and a Unix socket, refused before they do harm."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config

from workmanager.errors import WorkManagerError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

SUN_PATH_BYTES = 107  # unix(7): sun_path has 108, with the final zero
BACKLOG = 512
PROBE_TIMEOUT_S = 1.0


class ServerError(WorkManagerError):
    """The server cannot listen as asked; the message names the address and what to do."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates: the server's own, and, for mutual TLS, the authority of its clients'."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Load the certificates.

        Raises:
            ServerError: A file is missing or is no certificate or key.
        """
        import ssl

        config = Config()
        config.certfile, config.keyfile = str(self.certificate), str(self.key)
        if self.client_ca is not None:
            config.ca_certs = str(self.client_ca)
            config.verify_mode = ssl.CERT_REQUIRED
        try:
            context = config.create_ssl_context()
        except OSError as exc:  # ssl.SSLError is one
            raise ServerError(f"TLS files {self.certificate}, {self.key}: {exc}") from exc
        if context is None:
            raise ServerError("TLS needs a certificate and a key")
        return context


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve.

    Attributes:
        binds: `host:port` or `[v6]:port`; port 0 lets the system choose.
        unix_socket: Path of the Unix socket; None for none.
        unix_socket_mode: Its permissions; the peer's uid is checked besides.
        tls: Needed for any address but loopback, unless `allow_plaintext`.
        allow_plaintext: A proxy in front speaks TLS; tokens pass in clear between it and here.
        require_loopback: Refuse any other address (dev mode, which has no credentials).
        inherited: Listening sockets that systemd opened; closed by the server.
        grace_s: Seconds that requests under way get at shutdown.
        idle_timeout_s: Seconds a connection may take for a request head, or idle between requests.
        max_connections: More are closed as soon as they are accepted.
    """

    binds: tuple[str, ...] = ("127.0.0.1:5001",)
    unix_socket: Path | None = None
    unix_socket_mode: int = 0o660
    tls: Tls | None = None
    allow_plaintext: bool = False
    require_loopback: bool = False
    grace_s: float = 5.0
    idle_timeout_s: float = 30.0
    handshake_timeout_s: float = 10.0
    max_connections: int = 1000
    inherited: tuple[socket.socket, ...] = ()


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that takes connections, and where it can be called.

    `path` and `inode` are those of a Unix socket's file.
    """

    socket: trio.SocketListener
    url: str
    path: Path | None = None
    inode: int = 0


@asynccontextmanager
async def open_listeners(options: ServerOptions) -> AsyncIterator[list[Listener]]:
    """Open all listeners, or none; the Unix socket's file goes with them.

    Raises:
        ServerError: An address is taken, not allowed or unknown; the message says what to do.
    """
    listeners: list[Listener] = []
    try:
        for sock in options.inherited:
            listeners.append(_adopt(sock, options))  # noqa: PERF401 - closed if a later one fails
        for bind in options.binds:
            listeners += await _open_tcp(bind, options)
        if options.unix_socket is not None:
            listeners.append(_open_unix(options.unix_socket, options.unix_socket_mode))
        yield listeners
    finally:
        for listener in listeners:
            _close(listener)


async def _open_tcp(bind: str, options: ServerOptions) -> list[Listener]:
    host, port = parse_bind(bind)
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        check_exposure(bind, {str(entry[4][0]) for entry in found}, options)
        sockets = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except socket.gaierror as exc:
        raise ServerError(f"{bind}: the host is unknown: {exc.strerror}") from exc
    except OSError as exc:
        raise ServerError(f"{bind}: cannot listen: {_explain(exc)}") from exc
    return [Listener(sock, _url(sock, options)) for sock in sockets]


def _adopt(sock: socket.socket, options: ServerOptions) -> Listener:
    """Listen on a socket that was opened before us; its file, if it has one, stays when we go."""
    address = sock.getsockname()
    if sock.type != socket.SOCK_STREAM or not _is_listening(sock):
        raise ServerError(
            f"{address!r}: the socket handed over is not one that listens (Accept=no)"
        )
    if sock.family != socket.AF_UNIX:
        check_exposure(f"{address[0]}:{address[1]}", {str(address[0])}, options)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    if sock.family == socket.AF_UNIX:
        return Listener(listener, f"unix:{address}")
    return Listener(listener, _url(listener, options))


def _is_listening(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _url(listener: trio.SocketListener, options: ServerOptions) -> str:
    host, port = listener.socket.getsockname()[:2]
    scheme = "http" if options.tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def parse_bind(bind: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`.

    Raises:
        ServerError: It is neither.
    """
    host, _, port = bind.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare) != (bare != host) or not port.isdecimal() or int(port) > 65535:
        raise ServerError(
            f"{bind!r}: give host:port or [IPv6 address]:port, such as 127.0.0.1:5001"
        )
    return bare, int(port)


def check_exposure(bind: str, addresses: set[str], options: ServerOptions) -> None:
    """Refuse addresses that others could reach without TLS, or at all in dev mode.

    Raises:
        ServerError: It says what to do.
    """
    if all(ipaddress.ip_address(text.partition("%")[0]).is_loopback for text in addresses):
        return
    if options.require_loopback:
        raise ServerError(f"{bind}: dev mode has no credentials and listens on loopback only")
    if options.tls is None and not options.allow_plaintext:
        raise ServerError(
            f"{bind}: only loopback is served without TLS, for tokens would pass in clear; give a "
            "certificate and a key, or say that a proxy in front of it speaks TLS"
        )


def _open_unix(path: Path, mode: int) -> Listener:
    if len(os.fsencode(path)) > SUN_PATH_BYTES:
        raise ServerError(f"{path}: a Unix socket's path has at most {SUN_PATH_BYTES} bytes")
    remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(mode)  # before listen: until then nobody can connect, whatever the umask
        sock.listen(BACKLOG)
        inode = path.lstat().st_ino
    except OSError as exc:
        sock.close()
        raise ServerError(f"{path}: cannot listen: {_explain(exc)}") from exc
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    return Listener(listener, f"unix:{path}", path, inode)


def remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on: a service that was killed leaves it behind."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as exc:
        raise ServerError(f"{path}: cannot listen: {_explain(exc)}") from exc
    if not stat.S_ISSOCK(mode):
        raise ServerError(f"{path}: is not a socket; move it away or give another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise ServerError(f"{path}: cannot tell whether it is in use: {exc}") from exc
        else:
            raise ServerError(f"{path}: another service listens there; stop it first")


def _close(listener: Listener) -> None:
    listener.socket.socket.close()
    path = listener.path
    if path is not None:
        with suppress(FileNotFoundError):
            if path.lstat().st_ino == listener.inode:  # not a successor's
                path.unlink()


def _explain(exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return "the address is in use; stop what listens there, or give another"
    return exc.strerror or str(exc)
