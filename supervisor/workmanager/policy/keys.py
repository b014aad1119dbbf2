"""Key expressions: the attribute by which events are ordered, grouped, or kept apart.

An expression is an attribute's name, `subject` or `event.subject`. It is taken apart once, when a
worker is configured; reading a key is one dict look-up. Event data is never looked into.
"""

import base64
from collections.abc import Callable, Mapping

ReadKey = Callable[[Mapping[str, object]], str | None]


def key_of_attributes(expression: str) -> ReadKey:
    """Return a function that reads the key *expression* names; None where an event has none."""
    name = expression.removeprefix("event.")

    def read(attributes: Mapping[str, object]) -> str | None:
        value = attributes.get(name)
        return None if value is None else text_of(value)

    return read


def text_of(value: object) -> str:
    """Return the canonical text of an attribute's value.

    Source:
        CloudEvents 1.0.2, "Type System": `true`/`false`, decimal integers, base64 for bytes.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
