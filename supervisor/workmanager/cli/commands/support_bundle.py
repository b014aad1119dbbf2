"""`workmanager support-bundle`: everything a bug report needs, in one file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from workmanager.cli.bundle import Bundle, gather_machine, gather_service
from workmanager.cli.command import Command, examples
from workmanager.cli.output import say
from workmanager.cli.settings import GLOBAL_OPTIONS
from workmanager.client.problems import ClientError
from workmanager.client.target import load_token

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings


class _FileCommand(Command):
    """A command whose `-o` names a file, not a form."""

    global_options = tuple(option for option in GLOBAL_OPTIONS if option.name != "output")


@click.command("support-bundle", cls=_FileCommand)
@click.option(
    "-o",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True),
    default=lambda: time.strftime("workmanager-support-%Y%m%dT%H%M%S.tar.gz"),
    show_default="workmanager-support-TIME.tar.gz",
    help="The archive to write.",
)
@click.option("--no-logs", is_flag=True, help="Without what workers wrote.")
@click.pass_obj
@examples("workmanager support-bundle", "workmanager support-bundle -o report.tar.gz --no-logs")
def support_bundle(settings: Settings, file: str, no_logs: bool) -> None:
    """Gather health, states, tasks, logs, metrics, versions and settings for a bug report.

    Data of events, values of environment variables and credentials are left out. It works as far
    as it can where the service does not answer. Look through it before you send it.
    """
    with settings.client() as client:
        bundle = Bundle((load_token(client.target, settings.token_file),))
        try:
            client.health()
        except ClientError as error:
            say(f"without the service: {error}")
            bundle.errors["service"] = str(error)
        else:
            gather_service(bundle, client, with_logs=not no_logs)
    gather_machine(bundle)
    bundle.write(file)
    click.echo(file)
    if bundle.errors:
        say(f"left out: {', '.join(bundle.errors)}; errors.json says why")
