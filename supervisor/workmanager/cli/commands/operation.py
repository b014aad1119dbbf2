"""`workmanager operation`: verbs that take long, and how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workmanager.cli.command import Command, LazyGroup, examples
from workmanager.cli.listing import emit_list
from workmanager.cli.operations import finish
from workmanager.cli.output import emit
from workmanager.cli.params import limit_option

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings

_OPERATION = click.argument("operation_id", metavar="ID")


@click.group("operation", cls=LazyGroup, no_args_is_help=True)
@examples("workmanager operation list", "workmanager operation get ID --wait")
def operation() -> None:
    """See and stop work that takes long: deletes, rollbacks, redrives."""


@operation.command("list", cls=Command)
@limit_option(100)
@click.pass_obj
@examples("workmanager operation list", "workmanager operation list -o json")
def list_(settings: Settings, limit: int) -> None:
    """List operations, the newest first."""
    with settings.client() as client:
        emit_list(
            settings,
            "operation",
            lambda size, token: client.list_operations(page_size=size, page_token=token),
            limit=limit,
        )


@operation.command("get", cls=Command)
@_OPERATION
@click.option("--wait", is_flag=True, help="Wait until it is done; exit code 1 if it failed.")
@click.pass_obj
@examples("workmanager operation get ID", "workmanager operation get ID --wait")
def get(settings: Settings, operation_id: str, *, wait: bool) -> None:
    """Show one operation."""
    with settings.client() as client:
        found = client.get_operation(operation_id)
        if wait:
            finish(settings, client, [found], no_wait=False)
        else:
            emit(settings, "operation", found)


@operation.command("cancel", cls=Command)
@_OPERATION
@click.pass_obj
@examples("workmanager operation cancel ID", "workmanager operation get ID")
def cancel(settings: Settings, operation_id: str) -> None:
    """Stop an operation where it is; what it has done stays done."""
    with settings.client() as client:
        emit(settings, "operation", client.cancel_operation(operation_id))
