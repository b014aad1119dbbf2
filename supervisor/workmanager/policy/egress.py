"""Which requests a worker may have made for it: a function of its rules. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workmanager.model.spec_egress import Egress, EgressRule

# Ours, of the connection, or a way to be somebody else's.
FORBIDDEN_HEADERS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "keep-alive"),
        *("proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rule that allows a request; or None, and why none does."""

    rule: EgressRule | None
    why: str = ""


def decide(egress: Egress, *, method: str, host: str, port: int) -> Verdict:
    """Find the first rule that fits *host*; it decides about method and port.

    Args:
        host: In lower case, without a trailing dot.
    """
    rule = next((rule for rule in egress.allow if fits(rule.host, host)), None)
    if rule is None:
        return Verdict(None, f"spec.egress.allow has no rule for {host!r}")
    if method not in rule.methods:
        allowed = ", ".join(rule.methods)
        return Verdict(None, f"the rule for {rule.host!r} allows {allowed}, not {method}")
    if port not in rule.ports:
        allowed = ", ".join(map(str, rule.ports))
        return Verdict(None, f"the rule for {rule.host!r} allows port {allowed}, not {port}")
    return Verdict(rule)


def fits(pattern: str, host: str) -> bool:
    """Tell whether *host* is the one that *pattern* names, or below its `*.`."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def forbidden_header(name: str) -> bool:
    """Tell whether a worker must not set this header."""
    return name.lower() in FORBIDDEN_HEADERS
