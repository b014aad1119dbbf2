"""What the gRPC server listens on, refused before it does harm; by the rules of the REST server."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from workmanager.api.listeners import (
    SUN_PATH_BYTES,
    ServerError,
    ServerOptions,
    check_exposure,
    parse_bind,
    remove_stale,
)

if TYPE_CHECKING:
    from pathlib import Path

    from workmanager.api.listeners import Tls

SOCKET_MODE = 0o600  # whoever can open it is taken for the service's own user


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """How to serve.

    Attributes:
        binds: `host:port` or `[v6]:port`; port 0 lets the system choose.
        unix_socket: Path of the Unix socket, in a folder of the service's own; None for none.
        tls: Needed for any address but loopback.
        require_loopback: Refuse any other address (dev mode, which has no credentials).
        grace_s: Seconds that calls under way get at shutdown.
        max_streams: Calls and streams of one connection.
    """

    binds: tuple[str, ...] = ("127.0.0.1:5002",)
    unix_socket: Path | None = None
    tls: Tls | None = None
    require_loopback: bool = False
    grace_s: float = 5.0
    max_streams: int = 1000


def open_tcp(server: grpc.aio.Server, options: GrpcOptions) -> list[str]:
    """Bind the TCP addresses; returns their URLs.

    Raises:
        ServerError: One is taken, unknown or not allowed.
    """
    credentials = _credentials(options.tls) if options.tls is not None else None
    scheme = "grpc" if credentials is None else "grpcs"
    urls = []
    for bind in options.binds:
        host, port = parse_bind(bind)
        for address in _resolve(bind, host, port, options):
            try:
                if credentials is None:
                    bound = server.add_insecure_port(f"{address}:{port}")
                else:
                    bound = server.add_secure_port(f"{address}:{port}", credentials)
            except RuntimeError as exc:
                raise ServerError(
                    f"{bind}: gRPC cannot listen there; stop what does, or give another address"
                ) from exc
            urls.append(f"{scheme}://{address}:{bound}")
    return urls


def open_unix(server: grpc.aio.Server, path: Path) -> str:
    """Bind the Unix socket, open to the service's own user only; returns its URL.

    Raises:
        ServerError: The path is too long, taken, or no socket.
    """
    if len(os.fsencode(path)) > SUN_PATH_BYTES:
        raise ServerError(f"{path}: a Unix socket's path has at most {SUN_PATH_BYTES} bytes")
    remove_stale(path)
    before = os.umask(0o777 & ~SOCKET_MODE)  # gRPC listens at once, before any chmod
    try:
        server.add_insecure_port(f"unix:{path}")
        path.chmod(SOCKET_MODE)
    except (RuntimeError, OSError) as exc:
        raise ServerError(f"{path}: gRPC cannot listen there: {exc}") from exc
    finally:
        os.umask(before)
    return f"grpc+unix:{path}"


def close_unix(path: Path) -> None:
    """Remove the socket's file, if gRPC has left it."""
    with suppress(OSError):
        path.unlink()


def _resolve(bind: str, host: str, port: int, options: GrpcOptions) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as exc:
        raise ServerError(f"{bind}: the host is unknown: {exc.strerror}") from exc
    addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
    rules = ServerOptions(tls=options.tls, require_loopback=options.require_loopback)
    check_exposure(bind, set(addresses), rules)
    return [f"[{text}]" if ":" in text else text for text in addresses]


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    tls.context()  # gRPC accepts what it cannot use; this says what is wrong
    authority = tls.client_ca.read_bytes() if tls.client_ca is not None else None
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())],
        root_certificates=authority,
        require_client_auth=authority is not None,
    )
