"""What `workmanager doctor --dotnet` shows: engines, what was found where, what to install."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.output import emit_document
from workmanager.cli.tables import plain_table
from workmanager.cli.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workmanager.cli.settings import Settings as Options
    from workmanager.config import Settings

Json = dict[str, Any]


def examine_dotnet(options: Options, settings: Settings) -> None:
    """Show what there is of .NET; exit code 1 if one of its engines cannot run here."""
    from workmanager.engines.dotnet_checkup import examine

    found = examine(settings)
    if options.is_table:
        _show(found)
    else:
        emit_document(options, found)
    if not found["ok"]:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _show(found: Json) -> None:
    for engine in found["engines"]:
        is_here = engine["available"]
        words = engine["runtimeVersion"] if is_here else f"not here: {engine['detail']}"
        click.echo(sanitize(f"engine {engine['mediaType']}: {words}"))
    for name, fact in _facts(found):
        click.echo(sanitize(f"{name}: {fact}"))
    rows = [[one["folder"], one["found"] or "-"] for one in found["looked"]]
    click.echo("\n" + plain_table(["LOOKED FOR .NET IN", "FOUND"], rows), nl=False)


def _facts(found: Json) -> Iterator[tuple[str, str]]:
    runtime, compiler = found["runtime"], found["compiler"]
    yield "runtime", f".NET {runtime['version']} in {runtime['root']}" if runtime else "none"
    yield "compiler", f"{compiler['version']} in {compiler['folder']}" if compiler else "none"
    yield "bridge", found["bridge"] or "none"
    yield "packages", ", ".join(f"{p['name']} {p['version'] or 'none'}" for p in found["packages"])
    for trial in found["trials"]:
        yield (
            f"{trial['name']} tried",
            trial["detail"] if trial["ok"] else f"failed: {trial['detail']}",
        )
