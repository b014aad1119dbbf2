"""Who calls an rpc: by the same rules as REST, from its metadata and the door it came through.

grpcio does not tell which user is at the other end of a Unix socket. Its file is open to the
service's own user and root alone, so whoever calls through it is one of these.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from workmanager.api.auth import Auth, Peer, admit

if TYPE_CHECKING:
    from collections.abc import Sequence


class Door(Enum):
    """Where a call came in."""

    TCP = "tcp"
    UNIX = "unix"


def admit_call(
    auth: Auth, door: Door, method: str, metadata: Sequence[tuple[str, str | bytes]]
) -> str:
    """Name the caller of the rpc *method*, as `auth.admit` does.

    In dev mode TCP is loopback only, and no web page can call: browsers speak no HTTP/2 without
    TLS, and with it they send none of gRPC's content types across sites.

    Raises:
        AuthenticationError: Credentials are missing or wrong.
    """
    headers = [
        (b"authorization", value if isinstance(value, bytes) else value.encode())
        for name, value in metadata
        if name == "authorization"
    ]
    scope: dict[str, object] = {"path": method, "method": "POST", "headers": headers}
    if door is Door.UNIX:
        scope["state"] = {"peer": Peer(pid=0, uid=auth.own_uid, gid=0)}
    else:
        scope["client"] = ("127.0.0.1", 0)
        headers.append((b"host", b"localhost"))
    return admit(auth, scope)
