"""`workmanager group`: workers that exclude each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workmanager.cli.command import Command, LazyGroup, examples
from workmanager.cli.complete import group_names
from workmanager.cli.listing import emit_list
from workmanager.cli.output import emit
from workmanager.cli.params import limit_option

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings

_GROUP = click.argument("name", shell_complete=group_names)


@click.group("group", cls=LazyGroup, no_args_is_help=True)
@examples("workmanager group list", "workmanager group get billing -o yaml")
def group() -> None:
    """See groups, and free a lock that is stuck."""


@group.command("list", cls=Command)
@limit_option(0)
@click.pass_obj
@examples("workmanager group list", "workmanager group list -o wide")
def list_(settings: Settings, limit: int) -> None:
    """List the groups that workers name."""
    with settings.client() as client:
        emit_list(
            settings,
            "group",
            lambda size, token: client.list_groups(page_size=size, page_token=token),
            limit=limit,
        )


@group.command("get", cls=Command)
@_GROUP
@click.pass_obj
@examples("workmanager group get billing", "workmanager group get billing -o yaml")
def get(settings: Settings, name: str) -> None:
    """Show one group; `-o yaml` with who holds its lock."""
    with settings.client() as client:
        emit(settings, "group", client.get_group(name))


@group.command("release", cls=Command)
@_GROUP
@click.option("--token", type=int, required=True, help="The fencing token that `get` shows.")
@click.pass_obj
@examples("workmanager group get billing", "workmanager group release billing --token 42")
def release(settings: Settings, name: str, token: int) -> None:
    """Take a group's lock from its holder, whose attempt is then refused."""
    with settings.client() as client:
        emit(settings, "group", client.release_group(name, token))
