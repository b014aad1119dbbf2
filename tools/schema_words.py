"""A field of a JSON schema in words for people: its type, its default, its bounds."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_DURATIONS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
_WORDS = {"integer": "whole number", "string": "text", "boolean": "`true` or `false`"}
_NOUNS = {"maxLength": "characters", "maxItems": "items", "maxProperties": "entries"}


def target_of(field: Schema, schema: Schema) -> Schema:
    """Return the object that *field* is or holds; *field* itself if it is none."""
    for part in (field, *field.get("anyOf", ()), field.get("items", {})):
        if "$ref" in part:
            found: Schema = schema["$defs"][part["$ref"].rpartition("/")[2]]
            return found
    return field


def shown_type(field: Schema, schema: Schema) -> str:
    """Return the type of *field*, whose references are defined in *schema*."""
    target = target_of(field, schema)
    if _unit_of(field):
        return _unit_of(field)
    if "enum" in target:
        return "one of " + ", ".join(f"`{word}`" for word in target["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    bare: Schema = field["anyOf"][0] if "anyOf" in field else field
    if bare.get("type") == "array":
        items = bare["items"]
        return f"list of {'objects' if '$ref' in items else _word(items) + 's'}"
    return "object" if target is not field else _word(bare)


def shown_default(field: Schema) -> str:
    """Return the default of *field*."""
    default = field.get("default")
    if isinstance(default, dict):
        return "see there"
    if default is None:
        return "none" if "default" in field else "empty"
    if default in ("", []):
        return "empty"
    if isinstance(default, list):
        return ", ".join(f"`{item}`" for item in default)
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default if isinstance(default, str) else _quantity(default, _unit_of(field))}`"


def shown_bounds(field: Schema) -> str:
    """Return the bounds of a number, or of how much may be in a text, a list or a map."""
    unit = _unit_of(field)
    low = _first(field, "minimum", "ge")
    high = _first(field, "maximum", "le")
    above = _first(field, "exclusiveMinimum", "gt")
    if high is not None:
        begin = (
            f"`{_quantity(low, unit)}`" if above is None else f"above `{_quantity(above, unit)}`"
        )
        return f"{begin} to `{_quantity(high, unit)}`"
    if low is not None:
        return f"at least `{_quantity(low, unit)}`"
    for part in (field, *field.get("anyOf", ())):
        for key, noun in _NOUNS.items():
            if key in part:
                return f"at most {part[key]:,} {noun}"
    return ""


def _unit_of(field: Schema) -> str:
    """Tell what a number is that may also be text: a duration, a size; else empty."""
    types = {part.get("type") for part in field.get("anyOf", ())}
    if types == {"number", "string"}:
        return "duration"
    return "size" if types == {"integer", "string"} else ""


def _word(field: Schema) -> str:
    if "additionalProperties" in field:
        return "map of text to text"
    if field.get("format") == "path":
        return "path"
    return _WORDS.get(field["type"], str(field["type"]))


def _quantity(value: float | None, unit: str) -> str:
    """Write a number as a manifest would have it."""
    if value is None:
        return "0"
    if unit == "duration":
        for name, seconds in _DURATIONS:
            if value >= seconds and value % seconds == 0:
                return f"{value / seconds:g}{name}"
        return f"{value * 1000:g}ms" if value else "0s"
    if unit == "size":
        for name, size_bytes in _SIZES:
            if value and value % size_bytes == 0:
                return f"{int(value) // size_bytes}{name}"
    return str(value) if isinstance(value, int) else f"{value:g}"


def _first(field: Schema, *names: str) -> float | None:
    return next((field[name] for name in names if name in field), None)
