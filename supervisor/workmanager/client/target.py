"""Where the service listens, and how the caller shows who it is.

The Unix socket comes first: the service knows its peer's uid there and asks for no token.
Paths are plain strings here: pathlib takes 10 ms to import, and a command has 100 ms in all.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workmanager.client.tls import Tls

DEFAULT_URL = "http://127.0.0.1:5001"
DEFAULT_PORT = 5001
DEFAULT_GRPC_PORT = 5002
SOCKET_NAME = "workmanager.sock"
SYSTEM_RUNTIME_FOLDER = "/run/workmanager"
TOKEN_NAME = "token"  # noqa: S105 - the file's name, not its content
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
MAX_PORT = 65535


class TargetError(ValueError):
    """A target is neither a Unix socket's path nor a URL of a scheme that is known here."""


@dataclass(frozen=True, slots=True)
class Target:
    """Either the path of a Unix socket, or a host and a port (`socket_path` is None then).

    `tls` is for those with TLS; None: what the environment names.
    """

    socket_path: str | None = None
    host: str = "localhost"
    port: int = DEFAULT_PORT
    is_tls: bool = False
    is_grpc: bool = False
    tls: Tls | None = None

    @property
    def is_local(self) -> bool:
        """Tell whether the target is on this machine: only there is the local token sent."""
        return self.socket_path is not None or self.host in LOOPBACK

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        if self.socket_path is not None:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        if self.socket_path is not None:
            return f"grpc+unix:{self.socket_path}" if self.is_grpc else self.socket_path
        scheme = "grpc" if self.is_grpc else "http"
        return f"{scheme}{'s' if self.is_tls else ''}://{self.authority}"


def parse_target(text: str) -> Target:
    """Read a target.

    REST: `/run/x.sock`, `unix:x.sock`, `http://host:5001`, `https://host`, `host:5001`.
    gRPC: `grpc+unix:/run/x.sock`, `grpc://host:5002`, `grpcs://host:443` (with TLS).

    Raises:
        TargetError: It is none of these.
    """
    scheme, separator, rest = text.partition("://")
    if separator and scheme in ("http", "https", "grpc", "grpcs"):
        is_grpc = scheme.startswith("grpc")
        is_tls = scheme.endswith("s")
        return _network_target(text, rest.rstrip("/"), is_tls=is_tls, is_grpc=is_grpc)
    for prefix in ("unix:", "grpc+unix:"):
        if text.startswith(prefix):
            path = text.removeprefix(prefix)
            path = path.removeprefix("//") if path.startswith("///") else path
            return Target(path, is_grpc=prefix != "unix:")
    if not separator and "/" in text:
        return Target(text)
    if not separator and ":" in text:
        return _network_target(text, text, is_tls=False)
    raise TargetError(
        f"{text!r} is neither the path of a Unix socket nor an http(s), grpc(s) or grpc+unix URL"
    )


def default_target(environ: Mapping[str, str] | None = None) -> Target:
    """Return where the service is, going by the environment and by the sockets that exist.

    `WORKMANAGER_SOCKET`, else `workmanager.sock` in a state folder or where systemd's unit has it,
    else `DEFAULT_URL`.
    """
    environ = os.environ if environ is None else environ
    if environ.get("WORKMANAGER_SOCKET"):
        return Target(environ["WORKMANAGER_SOCKET"])
    for folder in (*state_folders(environ), SYSTEM_RUNTIME_FOLDER):
        path = f"{folder}/{SOCKET_NAME}"
        if _is_socket(path):
            return Target(path)
    return parse_target(DEFAULT_URL)


def load_token(
    target: Target, token_file: str = "", environ: Mapping[str, str] | None = None
) -> str:
    """Return the bearer token for *target*; empty where there is none.

    A named file, else `WORKMANAGER_TOKEN`, else the one of the state folder, which never leaves
    this machine.

    Raises:
        OSError: The named file cannot be read.
    """
    environ = os.environ if environ is None else environ
    if token_file:
        return _read(token_file)
    if environ.get("WORKMANAGER_TOKEN"):
        return environ["WORKMANAGER_TOKEN"].strip()
    if not target.is_local:
        return ""
    for folder in state_folders(environ):
        try:
            return _read(f"{folder}/{TOKEN_NAME}")
        except OSError:  # not there, or another user's: the service will say that one is needed
            continue
    return ""


def state_folders(environ: Mapping[str, str]) -> list[str]:
    """List where a state folder may be, the likeliest first: what `serve` takes by default."""
    named = environ.get("WORKMANAGER_STATE") or environ.get("STATE_DIRECTORY", "").split(":")[0]
    if named:
        return [named]
    home = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '')}/.local/state"
    return [f"{home}/workmanager", "/var/lib/workmanager"]


def _network_target(text: str, authority: str, *, is_tls: bool, is_grpc: bool = False) -> Target:
    if "/" in authority or "@" in authority:
        raise TargetError(f"{text!r}: a target is a host and a port, without user or path")
    host, bracket, after = authority.removeprefix("[").partition("]")
    if not bracket:
        host, _, after = authority.partition(":")
    port_text = after.removeprefix(":")
    port = int(port_text) if port_text.isascii() and port_text.isdigit() else 0
    if not host or (port_text and not 0 < port <= MAX_PORT):
        raise TargetError(f"{text!r} holds no host, or a port outside 1-{MAX_PORT}")
    default = 443 if is_tls else DEFAULT_GRPC_PORT if is_grpc else DEFAULT_PORT
    return Target(host=host, port=port or default, is_tls=is_tls, is_grpc=is_grpc)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - see the module's docstring
        return file.read().strip()


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - see the module's docstring
    except OSError:
        return False
