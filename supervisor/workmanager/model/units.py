"""Durations and sizes as people write them: `500ms`, `1h30m`, `14d`; `256Mi`, `64MiB`, `10k`.

Inside, a duration is seconds (float) and a size is bytes (int); both go out as plain numbers, so
that a program never has to parse what it reads. Words follow Kubernetes quantities and Go's
durations: `Mi` is 2**20, `M` is 10**6.
"""

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final

from pydantic import BeforeValidator

_SECONDS: Final[dict[str, Decimal]] = {
    "us": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
}
_BYTES: Final[dict[str, int]] = {
    "": 1,
    **{letter: 1000 ** (n + 1) for n, letter in enumerate("kmgt")},
    **{f"{letter}i": 1024 ** (n + 1) for n, letter in enumerate("kmgt")},
}
_DURATION_RULE: Final = "must be a duration such as '500ms', '1h30m', '14d', or seconds"
_SIZE_RULE: Final = "must be a size such as '256Mi', '64MiB', '10k', or a whole number of bytes"
_TEXT_LIMIT: Final = 64  # characters; nothing sensible is longer, and Decimal is slow on megabytes
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION_PART = re.compile(rf"({_NUMBER})(us|ms|s|m|h|d|w)")
_DURATION = re.compile(rf"(?:{_NUMBER}(?:us|ms|s|m|h|d|w))+", re.ASCII)
_PLAIN = re.compile(_NUMBER, re.ASCII)
_SIZE = re.compile(rf"({_NUMBER}) ?((?:[kmgt]i?)?)b?", re.ASCII | re.IGNORECASE)
_SIZE_LIMIT: Final = 2**63 - 1  # what SQLite and the kernel's counters hold


def parse_duration(value: object) -> float:
    """Read a duration in seconds from text (`1h30m`, `500ms`, `2.5`) or a number of seconds.

    Raises:
        ValueError: It is no duration, negative or not finite; the message shows the accepted form.
    """
    if isinstance(value, str):
        return _duration_from_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(_DURATION_RULE)  # noqa: TRY004 - pydantic reports only ValueError
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("must be a finite number of seconds, 0 or more")
    return seconds


def parse_size(value: object) -> int:
    """Read a size in bytes from text (`256Mi`, `64MiB`, `10k`) or a whole number of bytes.

    Raises:
        ValueError: It is no size, negative, or no whole number of bytes.
    """
    if isinstance(value, str):
        size = _size_from_text(value.strip())
    elif isinstance(value, float) and value.is_integer():
        size = int(value)
    elif isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(_SIZE_RULE)
    else:
        size = value
    if not 0 <= size <= _SIZE_LIMIT:
        raise ValueError("must be a number of bytes from 0 to 2**63 - 1")
    return size


Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=float | str)]
"""A pydantic field in seconds that accepts text."""

Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str)]
"""A pydantic field in bytes that accepts text."""


def _duration_from_text(text: str) -> float:
    if len(text) <= _TEXT_LIMIT:
        if _PLAIN.fullmatch(text):
            return parse_duration(float(text))
        if _DURATION.fullmatch(text):
            parts = _DURATION_PART.findall(text)
            return float(sum(Decimal(number) * _SECONDS[unit] for number, unit in parts))
    raise ValueError(_DURATION_RULE)


def _size_from_text(text: str) -> int:
    match = _SIZE.fullmatch(text) if len(text) <= _TEXT_LIMIT else None
    if match is None:
        raise ValueError(_SIZE_RULE)
    try:
        size = Decimal(match[1]) * _BYTES[match[2].lower()]
    except InvalidOperation:  # more digits than the decimal context holds
        size = Decimal(_SIZE_LIMIT) + 1
    if size != size.to_integral_value():
        raise ValueError(f"{text!r} is no whole number of bytes")
    return int(size)
