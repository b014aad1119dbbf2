"""`workmanager engine`: what code can be run here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workmanager.cli.command import Command, LazyGroup, examples
from workmanager.cli.listing import emit_list

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings


@click.group("engine", cls=LazyGroup, no_args_is_help=True)
@examples("workmanager engine list", "workmanager engine list -o wide")
def engine() -> None:
    """See what kinds of code can be run here."""


@engine.command("list", cls=Command)
@click.pass_obj
@examples("workmanager engine list", "workmanager engine list -o wide")
def list_(settings: Settings) -> None:
    """List engines and whether they can be used here."""
    with settings.client() as client:
        emit_list(
            settings,
            "engine",
            lambda size, token: client.list_engines(page_size=size, page_token=token),
        )
