"""Texts for people: ages, sizes, durations, and what a terminal may be shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DURATION_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_PLAIN_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# C0, DEL and C1: with them a worker's text could move the cursor, retitle or reprogram a terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\t")}
_JSON_CONTROLS = {code: f"\\u{code:04x}" for code in range(127, 160)}
_BINARY_STEP = 1024


def sanitize(text: str) -> str:
    """Write control characters as escapes, so that text from outside stays text."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def sanitize_json(text: str) -> str:
    """Write the control characters that JSON leaves as they are as JSON escapes."""
    return text if text.isascii() else text.translate(_JSON_CONTROLS)


def parse_duration_s(text: str) -> float:
    """Read `500ms`, `1h30m`, `30s` or a number of seconds.

    Raises:
        ValueError: It is none of these.
    """
    text = text.strip()
    if _PLAIN_NUMBER.fullmatch(text):
        return float(text)
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration such as 30s, 500ms or 1h30m")
    return float(sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts))


def format_seconds(seconds: float) -> str:
    """Write a duration in its largest two units: `850us`, `12ms`, `3.2s`, `5m10s`, `3d4h`."""
    if seconds < 0.001:  # a millisecond
        return f"{seconds * 1e6:.0f}us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f}ms"
    if seconds < 10:  # a decimal place says something below ten
        return f"{seconds:.1f}s"
    return _two_units(round(seconds))


def format_age(since: str, *, now: datetime | None = None) -> str:
    """Write how long ago an RFC 3339 time was; empty for an empty one."""
    if not since:
        return ""
    passed = (now or datetime.now(UTC)) - datetime.fromisoformat(since)
    return _two_units(max(round(passed.total_seconds()), 0))


def format_bytes(size: float) -> str:
    """Write a size: `512B`, `1.5Ki`, `24Mi`."""
    for unit in ("B", "Ki", "Mi", "Gi"):
        if size < _BINARY_STEP:
            return f"{size:.0f}{unit}" if unit == "B" or size >= 10 else f"{size:.1f}{unit}"
        size /= _BINARY_STEP
    return f"{size:.1f}Ti"


def _two_units(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    while len(units) > 1 and not units[0][0]:
        del units[0]
    return "".join(f"{count}{unit}" for count, unit in units[:2] if count) or "0s"
