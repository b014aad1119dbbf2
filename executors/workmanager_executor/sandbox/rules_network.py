"""Rules about sockets: which families, types and protocols a network setting leaves.

Landlock knows TCP connect and bind and nothing else, so whatever could leave by another door is
shut here: UDP, MPTCP, unix sockets, fast open (which connects without the connect hook), and
listen() without bind().
"""

from __future__ import annotations

import errno
from typing import Dict, Tuple

from .bpf import ANY_BIT, PASS, Branch, Node, argument, one_of, refuse

_NO_FAMILY = refuse(errno.EAFNOSUPPORT)
_FORBIDDEN = refuse(errno.EACCES)

_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_STREAM, _DGRAM, _SEQPACKET = 1, 2, 5
_TYPE_MASK = 0xF  # above it: SOCK_NONBLOCK, SOCK_CLOEXEC
_TCP, _UDP = 6, 17
_MSG_FASTOPEN = 0x20000000

_FLAGS_INDEX = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}


def network_rules(network: str, *, unix_sockets: bool) -> Dict[str, Node]:
    """The rules of one network setting (none, loopback, ports, full)."""
    internet = {
        "none": _NO_FAMILY,
        "ports": _internet((_STREAM,), (0, _TCP)),
        "loopback": _internet((_STREAM, _DGRAM), (0, _TCP, _UDP)),
        "full": _internet((_STREAM, _DGRAM), (0, _TCP, _UDP)),
    }[network]
    unix = PASS if unix_sockets else _NO_FAMILY
    family = one_of((_AF_INET, _AF_INET6), internet, one_of((_AF_UNIX,), unix, _NO_FAMILY))
    rules = {
        "socket": argument(0, family),
        "socketpair": argument(0, _pair(unix_sockets=unix_sockets)),
    }
    if network == "ports":
        rules["listen"] = _FORBIDDEN
        fast_open = Branch(ANY_BIT, _MSG_FASTOPEN, _FORBIDDEN, PASS)
        rules.update({name: argument(at, fast_open) for name, at in _FLAGS_INDEX.items()})
    return rules


def _internet(types: Tuple[int, ...], protocols: Tuple[int, ...]) -> Node:
    protocol = argument(2, one_of(protocols, PASS, refuse(errno.EPROTONOSUPPORT)))
    return argument(1, one_of(types, protocol, refuse(errno.EPROTONOSUPPORT)), mask=_TYPE_MASK)


def _pair(*, unix_sockets: bool) -> Node:
    """A datagram pair is a unix socket in disguise: sendto() takes it to any path."""
    types = (_STREAM, _SEQPACKET, _DGRAM) if unix_sockets else (_STREAM, _SEQPACKET)
    kind = argument(1, one_of(types, PASS, refuse(errno.EPROTONOSUPPORT)), mask=_TYPE_MASK)
    return one_of((_AF_UNIX,), kind, _NO_FAMILY)
