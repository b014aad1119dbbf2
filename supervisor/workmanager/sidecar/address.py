"""Where the sidecar is and how to speak to it: from the settings and what `dapr run` sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from workmanager.errors import Fault, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_PORT = 50_001  # of daprd's gRPC API, as `dapr init` leaves it
TLS_PORT = 443

_SCHEMES = ("http", "https", "dns", "unix")


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach a sidecar.

    Attributes:
        target: As gRPC takes it: `host:port` or `unix:/path`.
        token: Sent with every call as `dapr-api-token`; empty for none.
        is_tls: Whether the sidecar (or what stands before it) speaks TLS.
        ca: PEM file with the authority of its certificate; None for the system's.
    """

    target: str
    token: str = ""
    is_tls: bool = False
    ca: Path | None = None


def find_address(given: str, environ: Mapping[str, str], *, ca: Path | None = None) -> Address:
    """Return where the sidecar is: *given*, else what the environment of `dapr run` says.

    Forms: `host:port`, `http://host:port`, `https://host[:port]`, `unix:///path`, each but the last
    with `?tls=true` or `?tls=false` (Dapr proposal 0008, "endpoint environment variables").

    Raises:
        InvalidArgumentError: It is none of these.
    """
    text = given or environ.get("DAPR_GRPC_ENDPOINT", "")
    token = environ.get("DAPR_API_TOKEN", "")
    if not text:
        port = environ.get("DAPR_GRPC_PORT", "") or str(DEFAULT_PORT)
        text = f"127.0.0.1:{port}"
    target, is_tls = _parse(text)
    return Address(target, token, is_tls or ca is not None, ca)


def _parse(text: str) -> tuple[str, bool]:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        return "unix:" + (path.removeprefix("//")), False
    parts = urlsplit(text if "://" in text else f"dns://{text}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in _SCHEMES or not parts.hostname or port == 0:
        detail = f"must be HOST:PORT, http(s)://HOST:PORT or unix:///PATH, not {text!r}"
        raise InvalidArgumentError(
            f"the address of the sidecar {detail}", faults=[Fault("dapr_grpc_address", detail)]
        )
    asked = parse_qs(parts.query).get("tls", [""])[0]
    is_tls = asked == "true" if asked else parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port or (TLS_PORT if is_tls else DEFAULT_PORT)}", is_tls
