"""YAML as a way to write JSON values: the core schema of YAML 1.2, nothing that builds objects.

PyYAML only parses here; the values are made from its nodes one by one against a budget, so an alias
bomb (a few hundred bytes that expand to gigabytes) is refused after a bounded amount of work.
`yes`, `no`, `010` and `2026-01-01` stay the text they look like; YAML 1.1 would make them something
else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import yaml

from workmanager.errors import Fault, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_VALUES = 100_000  # after aliases are followed
MAX_DEPTH = 64

_TAG = "tag:yaml.org,2002:"
_RESOLVERS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C if there
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _name, (_pattern, _first) in _RESOLVERS.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern})$"), _first)


def load_yaml(body: bytes) -> object:
    """Read one YAML document as a JSON value.

    Raises:
        InvalidArgumentError: It is no YAML, no JSON value, or too large; with line and column.
    """
    try:
        text = body.decode()
        _check_size(text)
        node = _Loader(text).get_single_node()
    except UnicodeDecodeError as exc:
        raise InvalidArgumentError(f"the body is not valid UTF-8: {exc}") from exc
    except yaml.YAMLError as exc:
        raise _not_yaml(exc) from exc
    return None if node is None else _Reader().value(node, 0)


def _check_size(text: str) -> None:
    """Bound the nodes before any is built."""
    for count, _ in enumerate(yaml.parse(text, Loader=_Loader)):
        if count > MAX_VALUES:
            raise InvalidArgumentError(f"the YAML has more than {MAX_VALUES} values")


class _Reader:
    """Makes values of nodes until its budget is used up."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def value(self, node: yaml.Node, depth: int) -> object:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise InvalidArgumentError(
                f"the YAML has more than {MAX_VALUES} values or is more than {MAX_DEPTH} deep"
            )
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(child, depth + 1) for child in node.value]
        read = _SCALARS.get(node.tag)
        if not isinstance(node, yaml.ScalarNode) or read is None:
            raise _refused(node, f"the tag {node.tag} has no meaning here")
        try:
            return read(node.value)
        except ValueError as exc:
            raise _refused(node, f"{node.value[:40]!r} is no {node.tag}") from exc

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, object]:
        members: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != f"{_TAG}str":
                raise _refused(key_node, "keys are texts; put others in quotes")
            if key_node.value in members:
                raise _refused(key_node, f"the key {key_node.value[:80]!r} stands here twice")
            members[key_node.value] = self.value(value_node, depth + 1)
        return members


def _integer(text: str) -> int:
    return int(text, 16 if text.startswith("0x") else 10)


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_SCALARS: dict[str, Callable[[str], object]] = {
    f"{_TAG}str": str,
    f"{_TAG}null": lambda _: None,
    f"{_TAG}bool": _boolean,
    f"{_TAG}int": _integer,
    f"{_TAG}float": float,
}


def _refused(node: yaml.Node, detail: str) -> InvalidArgumentError:
    mark = node.start_mark
    pointer = f"line {mark.line + 1}, column {mark.column + 1}"
    return InvalidArgumentError(f"the YAML, {pointer}: {detail}", faults=[Fault(pointer, detail)])


def _not_yaml(exc: yaml.YAMLError) -> InvalidArgumentError:
    mark = cast("yaml.Mark | None", getattr(exc, "problem_mark", None))
    detail = str(getattr(exc, "problem", None) or getattr(exc, "reason", None) or "cannot be read")
    pointer = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return InvalidArgumentError(
        f"the body is not YAML: {pointer}{': ' if pointer else ''}{detail}",
        faults=[Fault(pointer, detail)],
    )
