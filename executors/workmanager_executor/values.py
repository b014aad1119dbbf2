"""Python values to JSON bytes, refused with the place that is at fault."""

from __future__ import annotations

import json
import math

from workmanager_executor.contract import OutputError

MAX_DEPTH = 64
_MAX_VISITS = 100_000  # a value that shares its parts may be far larger than its memory
_MAX_PATH_CHARS = 200

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def to_json(value: object) -> bytes:
    """Return *value* as compact JSON.

    Raises:
        OutputError: It is no JSON value, holds NaN or infinity, or nests deeper than 64.
    """
    try:
        text = _encode(value)
        body = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise OutputError(find_fault(value) or f"not a JSON value: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        fault = find_fault(value)
        if fault is not None:
            raise OutputError(fault)
    return body


def find_fault(value: object) -> str | None:
    """Say where *value* is not JSON, and why; None if no fault was found."""
    try:
        return _Search().fault(value, "$", 0)
    except _GaveUpError:
        return None


class _GaveUpError(Exception):
    """The value has more parts than it is worth looking at."""


class _Search:
    """Walks a value depth first, with a bound on how much it looks at."""

    def __init__(self) -> None:
        self._visits = 0

    def fault(self, value: object, path: str, depth: int) -> str | None:
        self._visits += 1
        if self._visits > _MAX_VISITS:
            raise _GaveUpError
        if isinstance(value, (dict, list, tuple)):
            if depth >= MAX_DEPTH:
                return f"{path[:_MAX_PATH_CHARS]}: nested deeper than {MAX_DEPTH}, or in itself"
            return self._inside(value, path, depth + 1)
        problem = _scalar_problem(value)
        return None if problem is None else f"{path[:_MAX_PATH_CHARS]}: {problem}"

    def _inside(self, value: object, path: str, depth: int) -> str | None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if not isinstance(key, (str, int, float)) and key is not None:
                    return f"{path[:_MAX_PATH_CHARS]}: key of type {type(key).__name__}"
                fault = _scalar_problem(key) and f"{path}: key {_scalar_problem(key)}"
                fault = fault or self.fault(inner, f"{path}.{key}", depth)
                if fault is not None:
                    return fault
        elif isinstance(value, (list, tuple)):
            for index, inner in enumerate(value):
                fault = self.fault(inner, f"{path}[{index}]", depth)
                if fault is not None:
                    return fault
        return None


def _scalar_problem(value: object) -> str | None:
    if value is None or isinstance(value, int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not a JSON number"
    if isinstance(value, str):
        return None if _is_unicode(value) else "text with a lone surrogate"
    return f"{type(value).__name__} is not a JSON value"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
