"""Who may call: a bearer token, the peer of a Unix socket, or anyone on loopback in dev mode.

Uploading code is running code, so every path but the probes and the API's own description asks for
credentials. In dev mode there are none, and a web page the developer visits could reach loopback:
the Host header must name this machine (against DNS rebinding) and a request that a browser made for
another site is refused (against cross-site request forgery).
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from workmanager.api.problems import problem_response
from workmanager.errors import AuthenticationError, Reason, StateFolderError, WorkManagerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

    from workmanager.api.access import Access

PUBLIC_PATHS = frozenset({"/livez", "/readyz", "/startupz", "/openapi.json", "/docs"}) | frozenset(
    {"/healthz", "/dapr/subscribe", "/dapr/config"}  # a Dapr sidecar asks without credentials
)
TOKEN_MIN_CHARS = 16  # shorter ones can be guessed
TOKEN_BYTES = 32
ROOT_UID = 0


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a Unix socket, as the kernel saw it connect."""

    pid: int
    uid: int
    gid: int


@dataclass(slots=True)
class Auth:
    """The rules of admission; all doors share one, so that a reload reaches each.

    Attributes:
        token: The bearer token; empty means that no token is accepted.
        allowed_uids: Users, besides root and the service's own, whose Unix socket peers may call.
        dev: No credentials on loopback; refused for any other address.
        allowed_hosts: Further host names that dev mode accepts in the Host header, lower case.
        own_uid: The user the service runs as.
        access: Knows the keys of applications and their rights; None: there are none.
    """

    token: str = field(default="", repr=False)
    allowed_uids: frozenset[int] = frozenset()
    dev: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    own_uid: int = field(default_factory=os.geteuid)
    access: Access | None = None


class AuthMiddleware:
    """Admit or refuse each request; `scope["state"]["principal"]` gets the caller's name."""

    def __init__(self, app: ASGIApp, *, auth: Auth) -> None:
        self._app = app
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its principal, or answer 401 or 403."""
        if scope["type"] in ("http", "websocket"):
            try:
                principal = admit(self._auth, scope)
            except WorkManagerError as error:
                await problem_response(error, instance=scope["path"])(scope, receive, send)
                return
            scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)


def admit(auth: Auth, scope: Mapping[str, object]) -> str:
    """Name the caller of a request, see `api.access`; empty on a public path.

    Raises:
        AuthenticationError: Credentials are missing or wrong.
        WorkManagerError: The caller is known and may not (reason PERMISSION_DENIED).
    """
    headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
    peer = cast("dict[str, object]", scope.get("state") or {}).get("peer")
    if isinstance(peer, Peer):
        if _is_allowed(auth, peer):
            return f"uid:{peer.uid}"
    elif auth.dev:
        _check_dev(auth, scope, headers)
        return "dev"
    principal = principal_of_bearer(auth, _authorization(headers))
    if principal:
        return principal
    if scope["path"] in PUBLIC_PATHS:
        return ""
    raise _refusal(auth, peer)


def load_or_create_token(path: Path) -> str:
    """Read the bearer token in the file *path*, creating a random one at the first start.

    Raises:
        StateFolderError: The file can be read by others, is not a plain file, or holds no token.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return _create_token(path)
    except OSError as exc:
        raise StateFolderError(f"{path}: cannot be opened as the token file: {exc}") from exc
    with os.fdopen(handle, "rb") as file:
        _check_token_file(path, os.fstat(file.fileno()))
        token = file.read(4096).decode("ascii", "replace").strip()
    if len(token) < TOKEN_MIN_CHARS or not token.isprintable() or " " in token:
        raise StateFolderError(
            f"{path}: holds no token of at least {TOKEN_MIN_CHARS} characters; remove the file and "
            "start again to have one made"
        )
    return token


def _create_token(path: Path) -> str:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)  # whole or not at all: a reader never sees half a token
    finally:
        draft.unlink(missing_ok=True)
    return token


def _check_token_file(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise StateFolderError(f"{path}: is not a plain file; remove it and start again")
    if facts.st_mode & 0o077 and not _is_credential(path):
        mode = stat.S_IMODE(facts.st_mode)
        raise StateFolderError(
            f"{path}: is open to others (mode {mode:04o}); chmod 600 it, or remove it and start "
            "again to have a new token made"
        )
    if facts.st_uid not in (os.geteuid(), ROOT_UID):
        raise StateFolderError(f"{path}: belongs to user {facts.st_uid}, not to this service")


def _is_credential(path: Path) -> bool:
    """Tell whether systemd put the file there: an ACL shows as group bits, others cannot enter."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(folder) and os.fspath(path.parent) == folder


def _is_allowed(auth: Auth, peer: Peer) -> bool:
    return peer.uid in (ROOT_UID, auth.own_uid) or peer.uid in auth.allowed_uids


def principal_of_bearer(auth: Auth, authorization: bytes) -> str:
    """Name who sends this Authorization header: `token`, an access key, or empty for nobody."""
    scheme, _, given = authorization.partition(b" ")
    given = given.strip()
    if scheme.lower() != b"bearer" or not given:
        return ""
    if auth.token and hmac.compare_digest(given, auth.token.encode("ascii")):
        return "token"
    return auth.access.authenticate(given.decode("latin-1")) if auth.access is not None else ""


def _authorization(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the one Authorization header; of several, none counts."""
    values = [value for name, value in headers if name == b"authorization"]
    return values[0] if len(values) == 1 else b""


def _refusal(auth: Auth, peer: object) -> WorkManagerError:
    if isinstance(peer, Peer):
        return _denied(f"user {peer.uid} is not in the service's list of allowed users")
    hint = "" if auth.token else "; this service has no token: use its Unix socket"
    return AuthenticationError(
        "send Authorization: Bearer <token of the state folder, or an access key>" + hint
    )


def _check_dev(auth: Auth, scope: Mapping[str, object], headers: list[tuple[bytes, bytes]]) -> None:
    client = cast("tuple[str, int] | None", scope.get("client"))
    if client is None or not _is_loopback(client[0]):
        raise _denied("dev mode answers on loopback only")
    hosts = [value.decode("latin-1").lower() for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not _is_local_host(_host_name(hosts[0]), auth.allowed_hosts):
        raise _denied("dev mode answers only to Host: localhost or a loopback address")
    found = dict(headers)
    origin = found.get(b"origin")
    if origin is not None and origin.decode("latin-1").lower().partition("://")[2] != hosts[0]:
        raise _denied("dev mode refuses requests that a browser makes for another site")
    _check_fetch_site(found, str(scope.get("method", "GET")))  # a WebSocket has none


def _check_fetch_site(headers: Mapping[bytes, bytes], method: str) -> None:
    if headers.get(b"sec-fetch-site") not in (b"cross-site", b"same-site"):
        return
    if method in ("GET", "HEAD") and headers.get(b"sec-fetch-mode") == b"navigate":
        return  # following a link; the other site cannot read the answer
    raise _denied("dev mode refuses requests that a browser makes for another site")


def _host_name(authority: str) -> str:
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.rpartition(":")[0] if ":" in authority else authority


def _is_local_host(name: str, allowed: frozenset[str]) -> bool:
    name = name.removesuffix(".")
    return (
        name == "localhost" or name.endswith(".localhost") or name in allowed or _is_loopback(name)
    )


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _denied(message: str) -> WorkManagerError:
    return WorkManagerError(message, reason=Reason.PERMISSION_DENIED)
