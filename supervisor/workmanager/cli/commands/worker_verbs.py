"""`worker start`, `stop`, `pause`, `resume`, `restart`, `rollback`, `delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.command import Command, examples
from workmanager.cli.complete import version_ids
from workmanager.cli.operations import finish, no_wait_option
from workmanager.cli.output import emit_many
from workmanager.cli.params import worker_argument, workers_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workmanager.cli.settings import Settings
    from workmanager.client.light import LightClient


@click.command("start", cls=Command)
@workers_argument
@click.pass_obj
@examples("workmanager worker start orders", "workmanager worker start orders invoices")
def start(settings: Settings, names: Sequence[str]) -> None:
    """Start workers that are stopped or have failed."""
    _each(settings, names, lambda client, name: client.start_worker(name))


@click.command("stop", cls=Command)
@workers_argument
@click.pass_obj
@examples("workmanager worker stop orders", "workmanager worker stop orders invoices")
def stop(settings: Settings, names: Sequence[str]) -> None:
    """Drain and stop workers.

    Their inboxes keep filling; no event is lost.
    """
    _each(settings, names, lambda client, name: client.stop_worker(name))


@click.command("pause", cls=Command)
@workers_argument
@click.pass_obj
@examples("workmanager worker pause orders", "workmanager worker pause orders invoices")
def pause(settings: Settings, names: Sequence[str]) -> None:
    """Take no more tasks; the executors stay warm."""
    _each(settings, names, lambda client, name: client.pause_worker(name))


@click.command("resume", cls=Command)
@workers_argument
@click.pass_obj
@examples("workmanager worker resume orders", "workmanager worker resume orders invoices")
def resume(settings: Settings, names: Sequence[str]) -> None:
    """Let paused workers go on."""
    _each(settings, names, lambda client, name: client.resume_worker(name))


@click.command("restart", cls=Command)
@workers_argument
@click.pass_obj
@examples("workmanager worker restart orders", "workmanager worker restart orders invoices")
def restart(settings: Settings, names: Sequence[str]) -> None:
    """Replace the executors of workers by new ones."""
    _each(settings, names, lambda client, name: client.restart_worker(name))


@click.command("rollback", cls=Command)
@worker_argument
@click.option(
    "--to-version", metavar="ID", default="", shell_complete=version_ids, help="To this version."
)
@click.option("--message", default="", help="Why; it is kept with the version.")
@no_wait_option
@click.pass_obj
@examples(
    "workmanager worker rollback orders",
    'workmanager worker rollback orders --to-version ID --message "totals were wrong"',
)
def rollback(
    settings: Settings, name: str, to_version: str, message: str, *, no_wait: bool
) -> None:
    """Make an earlier version current.

    The one before the current one, unless --to-version names another.
    """
    with settings.client() as client:
        operation = client.rollback_worker(name, version=to_version, message=message)
        finish(settings, client, [operation], no_wait=no_wait)


@click.command("delete", cls=Command)
@workers_argument
@click.option("--no-drain", is_flag=True, help="Do not let attempts in hand finish.")
@no_wait_option
@click.pass_obj
@examples("workmanager worker delete orders", "workmanager worker delete orders --no-drain")
def delete(settings: Settings, names: Sequence[str], *, no_drain: bool, no_wait: bool) -> None:
    """Delete workers with their versions, inboxes and dead letters."""
    with settings.client() as client:
        operations = [client.delete_worker(name, drain=not no_drain) for name in names]
        finish(settings, client, operations, no_wait=no_wait)


def _each(
    settings: Settings,
    names: Sequence[str],
    call: Callable[[LightClient, str], dict[str, Any]],
) -> None:
    """Call the verb for each worker in turn; the first refusal ends it."""
    with settings.client() as client:
        emit_many(settings, "worker", [call(client, name) for name in names], as_list=False)
