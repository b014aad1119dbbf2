"""Writes the tables of the reference in docs/ from the code they describe.

A table stands between `<!-- table: KIND ARGUMENT -->` and `<!-- end -->`. Its rows come from the
code; where its last column is "Meaning", people write that, and it is kept by the row's first cell.

`make docs` runs it; a test renders every table and compares, so none can be wrong for long.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import click

from workmanager.api.auth import Auth
from workmanager.api.rest.app import create_app
from workmanager.cli.exit_codes import MEANINGS
from workmanager.cli.root import root
from workmanager.config import Settings
from workmanager.errors import Reason
from workmanager.model import states
from workmanager.model.manifest import Manifest
from workmanager.model.versioning import VERSION_FIELDS
from workmanager.service.metrics import Metrics

sys.path.insert(0, str(Path(__file__).parent))
from schema_words import shown_bounds, shown_default, shown_type, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Document = dict[str, Any]
Table = tuple[list[str], list[list[str]]]  # head and rows

DOCS = Path(__file__).resolve().parent.parent / "docs"
MEANING = "Meaning"
UNEXPLAINED = "?"  # says a row whose meaning nobody has written; the test refuses it

_TABLE = re.compile(r"(<!-- table: (\S+) ?([^>\n]*?) ?-->\n)(.*?)(<!-- end -->)", re.DOTALL)
_METHODS = ("get", "put", "post", "patch", "delete")
_GLOBAL_OPTIONS = ("--output", "--target", "--token-file", "--no-color", "--help")


def main() -> None:
    """Bring every file up to date."""
    document = openapi()
    for path in sorted(DOCS.glob("*.md")):
        old = path.read_text(encoding="utf-8")
        new = updated(old, document)
        if new != old:
            path.write_text(new, encoding="utf-8")
            print(f"wrote {path.name}")  # noqa: T201 - a tool for the terminal


def openapi() -> Document:
    """Return the OpenAPI document, made without a service."""
    nothing: Any = SimpleNamespace(publish=None)
    return create_app(nothing, Auth(dev=True), answers=nothing).openapi()


def updated(text: str, document: Document) -> str:
    """Return *text* with every table as the code has it; *document* describes the REST API."""

    def replace(match: re.Match[str]) -> str:
        begin, kind, argument, old, end = match.groups()
        head, rows = _rows(kind, argument, document)
        return begin + _render(head, rows, _meanings(old)) + end

    return _TABLE.sub(replace, text)


def _rows(kind: str, argument: str, document: Document) -> Table:
    if kind == "manifest":
        return _manifest(argument)
    if kind == "routes":
        return _routes(argument, document)
    if kind == "states":
        return _states(argument)
    return {
        "commands": _commands,
        "exit-codes": _exit_codes,
        "metrics": _metrics,
        "reasons": _reasons,
        "settings": _settings,
        "version-fields": _version_fields,
    }[kind]()


def _render(head: list[str], rows: Sequence[list[str]], meanings: Mapping[str, str]) -> str:
    if head[-1] == MEANING:
        rows = [[*row, meanings.get(row[0], UNEXPLAINED)] for row in rows]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _meanings(table: str) -> dict[str, str]:
    """Return the last cell by the first one, of a table as it stands."""
    rows = [line.strip("|").split(" | ") for line in table.splitlines()[2:]]
    return {row[0].strip(): row[-1].strip() for row in rows if len(row) > 1}


def _manifest(path: str) -> Table:
    """List the fields of one object of the manifest, named by its path."""
    schema = Manifest.model_json_schema(by_alias=True)
    model: Document = schema
    for name in filter(None, path.split(".")):
        model = target_of(model["properties"][name], schema)
    rows = []
    for name, field in model["properties"].items():
        is_required = name in model.get("required", ())
        default = "required" if is_required else shown_default(field)
        rows.append([f"`{name}`", shown_type(field, schema), default, shown_bounds(field)])
    return ["Field", "Type", "Default", "Bounds", MEANING], rows


def _settings() -> Table:
    rows = []
    for name, field in Settings.model_json_schema()["properties"].items():
        default = shown_default(field) if "default" in field else "see there"
        rows.append([f"`{name}`", shown_type(field, {}), default, shown_bounds(field)])
    return ["Setting", "Type", "Default", "Bounds", MEANING], rows


def _routes(tag: str, document: Document) -> Table:
    """List the calls of one tag of the OpenAPI document."""
    rows = [
        [
            f"`{method.upper()} {path}`",
            operation["description"].partition("\n")[0].replace("|", "\\|"),
            ", ".join(f"`{p['name']}`" for p in operation.get("parameters", ()) if _is_query(p)),
            ", ".join(status for status in operation["responses"] if status[0] in "23"),
        ]
        for path, entry in document["paths"].items()
        for method, operation in entry.items()
        if method in _METHODS and tag in operation.get("tags", ())
    ]
    return ["Call", "What it does", "Query", "Answers"], rows


def _is_query(parameter: Document) -> bool:
    return cast("str", parameter["in"]) == "query"


def _states(name: str) -> Table:
    """List the members of one of the enumerations of states."""
    return ["State", MEANING], [[f"`{state.value}`"] for state in getattr(states, name)]


def _commands() -> Table:
    """List every command with its first sentence and its own options."""
    rows = []
    for path, command in _walk(root, ()):
        names = [max(p.opts, key=len) for p in command.params if isinstance(p, click.Option)]
        options = ", ".join(f"`{name}`" for name in names if name not in _GLOBAL_OPTIONS)
        rows.append([f"`{' '.join(path)}`", command.get_short_help_str(limit=200), options])
    return ["Command", "What it does", "Options"], rows


def _walk(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _walk(command, (*path, name))
        else:
            yield (*path, name), command


def _exit_codes() -> Table:
    return ["Code", "Says"], [[str(code.value), words] for code, words in MEANINGS.items()]


def _metrics() -> Table:
    """List every metric, from what is collected of a service without workers."""
    ledger = SimpleNamespace(commits=0, error=None)
    nothing: Any = SimpleNamespace(
        core=SimpleNamespace(counts=Counter(), ledger=ledger, locks={}),
        keepers={},
        logbook=SimpleNamespace(total=0),
        spans=None,
        zygote=SimpleNamespace(restarts=0),
        dapr=SimpleNamespace(
            sidecar=SimpleNamespace(is_up=False, reconnects=0),
            ingress=SimpleNamespace(
                answered=0, malformed=0, returned=0, findings={}, subscriptions={}
            ),
            outbox=SimpleNamespace(waiting=0, published=0, refusals=0, oldest_s=lambda: 0.0),
        ),
    )
    rows = []
    for family in Metrics(nothing).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ()))
        rows.append([f"`{name}`", family.type, labels, family.documentation])
    return ["Metric", "Type", "Labels", "What"], rows


def _reasons() -> Table:
    rows = [[f"`{reason.name}`", str(reason.status), reason.grpc_code] for reason in Reason]
    return ["Reason", "HTTP", "gRPC", MEANING], rows


def _version_fields() -> Table:
    return ["Field", "It"], [[f"`{name}`", why] for name, why in VERSION_FIELDS.items()]


if __name__ == "__main__":
    main()
