"""Writes what a command got back, in the form that `-o` names: data to stdout, words to stderr.

`json` and `yaml` write a list as one list and a single resource as itself; `jsonl` writes a line
for each item, as it arrives. Field names are those of the REST API, in every form.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.text import sanitize, sanitize_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workmanager.cli.settings import Settings

Json = dict[str, Any]


def emit(settings: Settings, kind: str, item: Json) -> None:
    """Write one resource of *kind* (a key of `workmanager.cli.columns.COLUMNS`)."""
    if settings.is_table:
        _emit_table(settings, kind, [item])
    else:
        emit_document(settings, item)


def emit_all(settings: Settings, kind: str, items: Iterable[Json]) -> None:
    """Write resources of one kind; an empty table says so on stderr."""
    if settings.output == "jsonl":
        for item in items:
            emit_document(settings, item)
        return
    found = list(items)
    if not settings.is_table:
        emit_document(settings, found)
    elif found:
        _emit_table(settings, kind, found)
    else:
        say("nothing found")


def emit_many(settings: Settings, kind: str, items: Sequence[Json], *, as_list: bool) -> None:
    """Write resources that were named one by one: a single one as itself, unless *as_list*."""
    if as_list or len(items) != 1:
        emit_all(settings, kind, items)
    else:
        emit(settings, kind, items[0])


def emit_document(settings: Settings, document: Json | Sequence[Json]) -> None:
    """Write *document* as JSON or YAML; the table forms write it as YAML."""
    if settings.output == "json":
        text = json.dumps(document, indent=2, ensure_ascii=False)
    elif settings.output == "jsonl":
        text = _json_line(document)
    else:
        text = _yaml(document).rstrip("\n")
    click.echo(sanitize_json(text))


def emit_streamed(settings: Settings, document: Json) -> None:
    """Write one of many documents, at once: JSON on one line, or a YAML document of its own."""
    if settings.output == "yaml":
        click.echo("---")
        emit_document(settings, document)
    else:
        click.echo(sanitize_json(_json_line(document)))


def say(words: str) -> None:
    """Tell the user something, on stderr."""
    click.echo(sanitize(words), err=True)


def _emit_table(settings: Settings, kind: str, items: Sequence[Json]) -> None:
    from workmanager.cli.columns import cells, columns_of
    from workmanager.cli.tables import plain_table, print_colored

    columns = columns_of(kind, is_wide=settings.output == "wide")
    headings = [column.heading for column in columns]
    rows = [cells(columns, item) for item in items]
    if settings.is_color:
        sys.stdout.flush()
        print_colored(headings, rows)
    else:
        click.echo(plain_table(headings, rows), nl=False)


def _json_line(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _yaml(document: object) -> str:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(
        yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=10_000)
    )
