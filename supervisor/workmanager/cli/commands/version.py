"""`workmanager version`: the versions of a worker's code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workmanager.cli.codefiles import ENGINES, engine_of, read_code
from workmanager.cli.command import Command, LazyGroup, examples
from workmanager.cli.complete import version_ids
from workmanager.cli.listing import emit_list
from workmanager.cli.operations import finish, no_wait_option
from workmanager.cli.output import emit, say
from workmanager.cli.params import limit_option, worker_argument

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings


@click.group("version", cls=LazyGroup, no_args_is_help=True)
@examples("workmanager version list orders", "workmanager version promote orders ID")
def version() -> None:
    """See, add and choose the versions of a worker's code."""


_VERSION = click.argument("version", shell_complete=version_ids)


@version.command("list", cls=Command)
@worker_argument
@limit_option(0)
@click.pass_obj
@examples("workmanager version list orders", "workmanager version list orders -o json")
def list_(settings: Settings, name: str, limit: int) -> None:
    """List the versions of a worker, the newest first."""
    with settings.client() as client:
        emit_list(
            settings,
            "version",
            lambda size, token: client.list_versions(name, page_size=size, page_token=token),
            limit=limit,
        )


@version.command("get", cls=Command)
@worker_argument
@_VERSION
@click.pass_obj
@examples("workmanager version get orders ID", "workmanager version get orders ID -o yaml")
def get(settings: Settings, name: str, version: str) -> None:
    """Show one version of a worker."""
    with settings.client() as client:
        emit(settings, "version", client.get_version(name, version))


@version.command("create", cls=Command)
@worker_argument
@click.option(
    "--code",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
)
@click.option("--engine", metavar="TYPE", default="", help="Media type, if the suffix is no help.")
@click.option("--no-promote", is_flag=True, help="Build it, but leave the current one in use.")
@click.pass_obj
@examples(
    "workmanager version create orders --code orders.py",
    "workmanager version create orders --code orders.py --no-promote",
)
def create(settings: Settings, name: str, code: str, engine: str, *, no_promote: bool) -> None:
    """Hand a worker new code: a hot swap, no event is lost.

    A version that does not build or start is refused, and the current one goes on.
    """
    media_type = engine or engine_of(code)
    if not media_type:
        raise click.UsageError(f"{code}: give --engine; the suffix is none of {', '.join(ENGINES)}")
    with settings.client() as client:
        made = client.create_version(name, read_code(code), media_type, promote=not no_promote)
    emit(settings, "version", made)


@version.command("promote", cls=Command)
@worker_argument
@_VERSION
@no_wait_option
@click.pass_obj
@examples(
    "workmanager version promote orders ID", "workmanager version promote orders ID --no-wait"
)
def promote(settings: Settings, name: str, version: str, *, no_wait: bool) -> None:
    """Make a version current by a hot swap."""
    with settings.client() as client:
        finish(settings, client, [client.promote_version(name, version)], no_wait=no_wait)


@version.command("delete", cls=Command)
@worker_argument
@_VERSION
@click.pass_obj
@examples("workmanager version delete orders ID", "workmanager version list orders")
def delete(settings: Settings, name: str, version: str) -> None:
    """Forget a version that is not in use."""
    with settings.client() as client:
        client.delete_version(name, version)
    say(f"version {version} of {name} is deleted")
