"""The top of the command tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workmanager import __version__
from workmanager.cli.command import RootGroup, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP_WIDTH = 100
COMMANDS = "workmanager.cli.commands"
PLACES = {
    "serve": f"{COMMANDS}.serve:serve",
    "worker": f"{COMMANDS}.worker:worker",
    "version": f"{COMMANDS}.version:version",
    "executor": f"{COMMANDS}.executor:executor",
    "event": f"{COMMANDS}.event:event",
    "task": f"{COMMANDS}.task:task",
    "dead-letter": f"{COMMANDS}.dead_letter:dead_letter",
    "group": f"{COMMANDS}.group:group",
    "engine": f"{COMMANDS}.engine:engine",
    "operation": f"{COMMANDS}.operation:operation",
    "application": f"{COMMANDS}.application:application",
    "audit": f"{COMMANDS}.audit:audit",
    "health": f"{COMMANDS}.health:health",
    "top": f"{COMMANDS}.top:top",
    "support-bundle": f"{COMMANDS}.support_bundle:support_bundle",
    "doctor": f"{COMMANDS}.doctor:doctor",
    "install": f"{COMMANDS}.install:install",
    "completion": f"{COMMANDS}.completion:completion",
}


def main(args: Sequence[str] | None = None) -> None:
    """Run the `workmanager` command and leave with its exit code."""
    root.main(args, prog_name="workmanager")


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"workmanager {__version__}")
        context.exit()


@click.group(
    "workmanager",
    cls=RootGroup,
    no_args_is_help=True,
    context_settings={"max_content_width": HELP_WIDTH},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@examples(
    "workmanager serve --dev",
    "workmanager worker create hello --code hello.py --topic greetings",
)
def root() -> None:
    """Run event-driven workers in isolated, supervised processes."""


root.places = PLACES
