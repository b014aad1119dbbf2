"""Which addresses code may be fetched from: a URL must not reach what its author cannot.

A manifest is written by someone who may not be allowed on this host's network. Private addresses
are refused unless the operator allows them; those no code is ever served from (cloud metadata,
link-local, multicast, reserved) always are. Every address of a name is checked, and the caller
connects to a checked address, not to the name: a second look-up could answer otherwise.

Source: OWASP, "Server-Side Request Forgery Prevention"; IANA special-purpose address registries.
"""

import ipaddress
import socket
from typing import Final

import trio

from workmanager.errors import CodeError, Reason

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOT_PUBLIC: Final = "which is not public; the operator can allow private addresses"
MAX_ADDRESSES: Final = 8  # of one name that are tried; DNS answers are foreign input

_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",  # most clouds
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's wire server: a public address
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # AWS
            "fd20:ce::254",  # Google
        ),
    )
)
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class AddressError(Exception):
    """A host has no address, or one that must not be connected to.

    Attributes:
        is_refused: It has addresses, and one of them is refused.
    """

    def __init__(self, message: str, *, is_refused: bool = False) -> None:
        super().__init__(message)
        self.is_refused = is_refused


async def look_up(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Return the addresses of *host*, each of them allowed.

    Raises:
        AddressError: It has none, or one of them is refused.
    """
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressError(f"{host!r} cannot be resolved: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    for address in addresses:
        refusal = refuse(ipaddress.ip_address(address), allow_private=allow_private)
        if refusal:
            raise AddressError(f"{host!r} has address {address}, {refusal}", is_refused=True)
    if not addresses:
        raise AddressError(f"{host!r} has no address")
    return addresses[:MAX_ADDRESSES]


async def resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Return the addresses of *host*, from which code is to be fetched; each of them is allowed.

    Raises:
        CodeError: CODE_FETCH_FAILED: it has none, or one of them is refused.
    """
    try:
        return await look_up(host, port, allow_private=allow_private)
    except AddressError as error:
        raise _error(host, str(error)) from error


def refuse(address: Address, *, allow_private: bool) -> str:
    """Say why *address* must not be connected to; empty if it may."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return refuse(inner, allow_private=allow_private)
    if address in _METADATA:
        return "a cloud metadata address"
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        return "which serves nobody (unspecified, multicast or link-local)"
    if address.is_loopback or address.is_private or not address.is_global:
        return "" if allow_private and not _is_reserved(address) else _NOT_PUBLIC
    return "which is reserved" if _is_reserved(address) else ""


def _is_reserved(address: Address) -> bool:
    """Tell addresses that are neither public nor anyone's private network."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_reserved
    return not (address in _GLOBAL_UNICAST or address.is_loopback or address.is_private)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that is really reached through an IPv6 form of it."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _error(host: str, message: str) -> CodeError:
    return CodeError(
        f"the code's host {message}",
        reason=Reason.CODE_FETCH_FAILED,
        metadata={"host": host},
    )
