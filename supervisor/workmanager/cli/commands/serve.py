"""`workmanager serve`: runs the service. The one command that is not a client."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workmanager.cli.command import PlainCommand, examples
from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.output import say
from workmanager.cli.params import PAIR
from workmanager.errors import InvalidArgumentError, IsolationError, WorkManagerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.config import Settings


@click.command("serve", cls=PlainCommand)
@click.option("--dev", is_flag=True, help="For development: no credentials, on loopback only.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML file.")
@click.option("--state", metavar="FOLDER", help="State folder: one for each service.")
@click.option("--bind", metavar="HOST:PORT", help="Where REST listens; port 0 takes a free one.")
@click.option(
    "--socket", metavar="PATH", help="Unix socket, or none.  [default: in the state folder]"
)
@click.option("--token-file", metavar="PATH", help="Bearer token.  [default: in the state folder]")
@click.option(
    "--backend",
    type=click.Choice(("auto", "embedded", "dapr")),
    help="Where events come from; auto is dapr under `dapr run`.",
)
@click.option("--log-level", type=click.Choice(("debug", "info", "warning", "error")))
@click.option("--log-format", type=click.Choice(("auto", "json", "console")))
@click.option("--set", "pairs", type=PAIR, multiple=True, help="Any other setting.")
@examples("workmanager serve --dev", "workmanager serve --config /etc/workmanager/config.toml")
def serve(
    config: Path | None, pairs: Sequence[tuple[str, str]], **options: str | bool | None
) -> None:
    """Run the service until Ctrl-C or SIGTERM.

    Options win over WORKMANAGER_* variables, and those over the file.
    """
    given = {name: value for name, value in options.items() if value not in (None, False)}
    try:
        _run(config, {**dict(pairs), **given})
    except WorkManagerError as error:
        say(f"error: {error.reason.name}: {error}")
        for fault in error.faults:
            say(f"  - {fault.pointer or '(whole)'}: {fault.detail}")
        raise click.exceptions.Exit(_exit_code(error)) from error


def _exit_code(error: WorkManagerError) -> ExitCode:
    if isinstance(error, IsolationError):
        return ExitCode.NO_SANDBOX
    return ExitCode.USAGE if isinstance(error, InvalidArgumentError) else ExitCode.REFUSED


def _run(config: Path | None, overrides: dict[str, str | bool | None]) -> None:
    gc.disable()  # what is made from here on stays; the daemon enables it once it serves
    from workmanager.config import load_settings
    from workmanager.daemon import run

    def load() -> Settings:
        return load_settings(config, overrides)

    run(load(), reload=load)
