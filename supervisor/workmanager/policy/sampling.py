"""Which tasks are traced: decided by an event's `traceparent`, before anything is made. Pure.

    traceparent = "00-" 32 hex digits of the trace "-" 16 of the parent span "-" 2 of flags

Source:
    W3C Trace Context, section 3.2; OpenTelemetry SDK, environment variables OTEL_TRACES_SAMPLER and
    OTEL_TRACES_SAMPLER_ARG; TraceIdRatioBased: the low 64 bits of the trace's id are compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLED = 1
LOW_BITS = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: spreads consecutive numbers evenly
MIXED = 0xC2B2AE3D27D4EB4F  # an odd number without a pattern (xxHash)

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_RATIOS = {"always_on": 1.0, "always_off": 0.0}


@dataclass(frozen=True, slots=True)
class Sampler:
    """How it is decided.

    Attributes:
        bound: Of the low 64 bits of a trace's id: those below are sampled.
        follows_parent: What the parent was decided to be holds; *bound* is for events without one.
    """

    bound: int
    follows_parent: bool


def sampler_of(environ: Mapping[str, str]) -> Sampler:
    """Read the standard variables; what cannot be read is `parentbased_always_on`, the default.

    Returns:
        The sampler; of a ratio that cannot be read, the one that samples everything.
    """
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    follows_parent = name.startswith("parentbased_")
    base = name.removeprefix("parentbased_")
    if base == "traceidratio":
        ratio = _ratio(environ.get("OTEL_TRACES_SAMPLER_ARG", ""))
    elif base in _RATIOS:
        ratio = _RATIOS[base]
    else:
        ratio, follows_parent = 1.0, True
    return Sampler(round(ratio * 2**64), follows_parent)


def parse_traceparent(value: object) -> tuple[int, int, int] | None:
    """Return the trace's id, the parent span's and the flags; None where it is no traceparent."""
    match = _TRACEPARENT.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] == "ff" or (match[5] and match[1] == "00"):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    return (trace_id, span_id, int(match[4], 16)) if trace_id and span_id else None


def format_traceparent(trace_id: int, span_id: int) -> str:
    """Write the context of a span that is sampled."""
    return f"00-{trace_id:032x}-{span_id:016x}-01"


def decide(sampler: Sampler, traceparent: object, number: int) -> tuple[int, int] | None:
    """Return the trace and the parent span of a task that is traced; None for most.

    Args:
        traceparent: The event's attribute; whatever is there.
        number: The task's, from which a trace without a parent gets its id: the same at each
            attempt.
    """
    if traceparent is not None:
        parsed = parse_traceparent(traceparent)
        if parsed is not None:
            trace_id, parent_id, flags = parsed
            if sampler.follows_parent:
                return (trace_id, parent_id) if flags & SAMPLED else None
            return (trace_id, parent_id) if trace_id & LOW_BITS < sampler.bound else None
    low = (number * GOLDEN) & LOW_BITS
    if low >= sampler.bound:
        return None
    return ((number * MIXED) & LOW_BITS) << 64 | low or 1, 0


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        return 1.0
    return ratio if 0.0 <= ratio <= 1.0 else 1.0
