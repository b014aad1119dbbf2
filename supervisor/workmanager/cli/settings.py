"""What the global options of one invocation say."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import click

from workmanager.client.light import LightClient
from workmanager.client.target import (
    DEFAULT_URL,
    TargetError,
    default_target,
    load_token,
    parse_target,
)

OUTPUTS = ("table", "wide", "json", "yaml", "jsonl")


@dataclass(slots=True)
class Settings:
    """The global options, wherever on the command line they stood; the last one counts."""

    output: str = "table"
    target: str = ""
    token_file: str = ""
    no_color: bool = False

    @property
    def is_table(self) -> bool:
        """Tell whether the output is for people."""
        return self.output in ("table", "wide")

    @property
    def is_color(self) -> bool:
        """Tell whether to use colour (see no-color.org)."""
        if self.no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        return sys.stdout.isatty()

    def client(self, *, timeout_s: float = 30.0) -> LightClient:
        """Make the client for the target.

        Raises:
            click.UsageError: The target or the token file cannot be read.
        """
        try:
            where = parse_target(self.target) if self.target else default_target()
            token = load_token(where, self.token_file)
        except TargetError as error:
            raise click.UsageError(str(error)) from error
        except OSError as error:
            raise click.UsageError(f"{self.token_file}: {error.strerror}") from error
        return LightClient(where, token=token, timeout_s=timeout_s)


def _store(context: click.Context, option: click.Parameter, value: object) -> None:
    settings = context.ensure_object(Settings)
    if value and option.name:
        setattr(settings, option.name, value)


GLOBAL_OPTIONS: tuple[click.Option, ...] = (
    click.Option(
        ["-o", "--output"],
        type=click.Choice(OUTPUTS),
        envvar="WORKMANAGER_OUTPUT",
        expose_value=False,
        callback=_store,
        help="How to write what comes back.  [default: table]",
    ),
    click.Option(
        ["--target"],
        metavar="WHERE",
        envvar="WORKMANAGER_TARGET",
        expose_value=False,
        callback=_store,
        help="Unix socket path or URL of the service.  [default: $WORKMANAGER_SOCKET, else the "
        f"socket in the state folder, else {DEFAULT_URL}]",
    ),
    click.Option(
        ["--token-file"],
        type=click.Path(),
        envvar="WORKMANAGER_TOKEN_FILE",
        expose_value=False,
        callback=_store,
        help="File with the bearer token.",
    ),
    click.Option(
        ["--no-color"],
        is_flag=True,
        expose_value=False,
        callback=_store,
        help="No colour ($NO_COLOR does the same).",
    ),
)
