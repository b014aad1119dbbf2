"""`workmanager executor`: the processes that run workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workmanager.cli.command import Command, LazyGroup, examples
from workmanager.cli.listing import emit_list
from workmanager.cli.params import limit_option, worker_option

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings


@click.group("executor", cls=LazyGroup, no_args_is_help=True)
@examples("workmanager executor list", "workmanager executor list --worker orders -o wide")
def executor() -> None:
    """See the processes that run workers."""


@executor.command("list", cls=Command)
@worker_option
@limit_option(0)
@click.pass_obj
@examples("workmanager executor list", "workmanager executor list --worker orders -o wide")
def list_(settings: Settings, worker: str, limit: int) -> None:
    """List executors with what they use."""
    with settings.client() as client:
        emit_list(
            settings,
            "executor",
            lambda size, token: client.list_executors(worker, page_size=size, page_token=token),
            limit=limit,
        )
