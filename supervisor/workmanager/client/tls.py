"""What TLS needs on the client's side: whom to trust, and who the client itself is.

PEM files, named in the code or by the environment: WORKMANAGER_CLIENT_CA (else SSL_CERT_FILE, else
the system's authorities), and for mutual TLS WORKMANAGER_CLIENT_CERTIFICATE and
WORKMANAGER_CLIENT_KEY (which may stand in the certificate's file).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workmanager.client.problems import NoSupervisorError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from workmanager.client.target import Target


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files; empty for none.

    Attributes:
        certificate: The client's own, with its chain.
        key: Its key.
        authorities: Whom to trust instead of the system's.
    """

    certificate: str = ""
    key: str = ""
    authorities: str = ""


def tls_of(environ: Mapping[str, str]) -> Tls:
    """Read what the environment names."""
    prefix = "WORKMANAGER_CLIENT_"
    return Tls(
        environ.get(f"{prefix}CERTIFICATE", ""),
        environ.get(f"{prefix}KEY", ""),
        environ.get(f"{prefix}CA", "") or environ.get("SSL_CERT_FILE", ""),
    )


def tls_context(target: Target) -> ssl.SSLContext:
    """Make the context of a connection to *target*.

    Raises:
        NoSupervisorError: A file is missing or is no certificate or key.
    """
    import ssl

    tls = target.tls or tls_of(os.environ)
    try:
        context = ssl.create_default_context(cafile=tls.authorities or None)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key or None)
    except OSError as error:  # ssl.SSLError is one
        raise _unusable(target, tls, error) from error
    return context


def tls_files(target: Target) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Return authorities, key and certificate for a gRPC channel; None for what it brings itself.

    Raises:
        NoSupervisorError: A file cannot be read.
    """
    import ssl

    tls = target.tls or tls_of(os.environ)
    authorities = tls.authorities or ssl.get_default_verify_paths().cafile or ""
    try:
        chain = _read(tls.certificate)
        return _read(authorities), _read(tls.key) if tls.key else chain, chain
    except OSError as error:
        raise _unusable(target, tls, error) from error


def _read(path: str) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:  # noqa: PTH123 - see `target`
        return file.read()


def _unusable(target: Target, tls: Tls, error: OSError) -> NoSupervisorError:
    named = ", ".join(filter(None, (tls.certificate, tls.key, tls.authorities)))
    why = f"TLS cannot be had with {named or 'the authorities of the system'}: {error}"
    return NoSupervisorError(str(target), why, may_pass=False)
