"""`worker invoke`: hands one event to a worker, past all topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from workmanager.cli.command import Command, examples
from workmanager.cli.complete import version_ids
from workmanager.cli.eventoptions import EventOptions, build_event, event_options
from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.output import emit, emit_document, say
from workmanager.cli.params import DURATION, worker_argument
from workmanager.cli.text import sanitize_json

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings

Json = dict[str, Any]

MODES = ("sync", "async", "dryRun")
UNFINISHED = ("COMPLETED", "SCHEDULED", "IN_PROGRESS")


@click.command("invoke", cls=Command)
@worker_argument
@event_options
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="sync",
    show_default=True,
    help="async: do not wait. dryRun: publish nothing, store nothing.",
)
@click.option("--version", metavar="ID", default="", shell_complete=version_ids, help="By this.")
@click.option("--timeout", "timeout_s", type=DURATION, default=30.0, show_default="30s")
@click.pass_obj
@examples(
    'workmanager worker invoke hello --data \'{"name": "Ada"}\'',
    "workmanager worker invoke hello --data @event.json --mode dryRun -o json",
)
def invoke(
    settings: Settings,
    /,
    name: str,
    mode: Literal["sync", "async", "dryRun"],
    version: str,
    timeout_s: float,
    **options: Any,  # noqa: ANN401 - exactly the fields of EventOptions
) -> None:
    """Hand one event to a worker and show what it gives back.

    Exit code 1 if its code fails.
    """
    event = build_event(EventOptions(**options))
    with settings.client() as client:
        result = client.invoke(name, event, mode=mode, version=version, timeout_s=timeout_s)
    if settings.is_table:
        _emit_result(settings, result)
    else:
        emit_document(settings, result)
    if result["status"] not in UNFINISHED:
        _say_error(result)
        raise click.exceptions.Exit(ExitCode.FAILED)


def _emit_result(settings: Settings, result: Json) -> None:
    """Show the outputs themselves, in full: they are what was asked for."""
    import json

    emit(settings, "invoke", result)
    for output in result.get("outputs", ()):
        click.echo(sanitize_json(json.dumps(output, ensure_ascii=False)))


def _say_error(result: Json) -> None:
    error = result.get("error") or {"type": result["status"], "message": "it did not complete"}
    say(f"error: {error['type']}: {error['message']}")
    for line in error.get("traceback", "").splitlines():
        say(f"  | {line}")
