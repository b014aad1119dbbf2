"""`workmanager task`: events on their way through workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workmanager.cli.command import Command, LazyGroup, examples
from workmanager.cli.listing import emit_list
from workmanager.cli.output import emit
from workmanager.cli.params import limit_option, worker_option

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings

STATUSES = (
    "SCHEDULED",
    "IN_PROGRESS",
    "COMPLETED",
    "COMPLETED_WITH_ERRORS",
    "FAILED",
    "FAILED_WITH_TERMINAL_ERROR",
    "TIMED_OUT",
    "CANCELED",
    "SKIPPED",
)


@click.group("task", cls=LazyGroup, no_args_is_help=True)
@examples("workmanager task list --worker orders", "workmanager task get ID")
def task() -> None:
    """See and steer tasks: one event to be handled by one worker."""


@task.command("list", cls=Command)
@worker_option
@click.option("--status", type=click.Choice(STATUSES, case_sensitive=False), help="In this status.")
@limit_option(100)
@click.pass_obj
@examples("workmanager task list --worker orders", "workmanager task list --status FAILED -o wide")
def list_(settings: Settings, worker: str, status: str | None, limit: int) -> None:
    """List tasks, the newest first."""
    with settings.client() as client:
        emit_list(
            settings,
            "task",
            lambda size, token: client.list_tasks(
                worker=worker, status=status or "", page_size=size, page_token=token
            ),
            limit=limit,
        )


@task.command("get", cls=Command)
@click.argument("task_id", metavar="ID")
@click.pass_obj
@examples("workmanager task get ID", "workmanager task get ID -o yaml")
def get(settings: Settings, task_id: str) -> None:
    """Show one task."""
    with settings.client() as client:
        emit(settings, "task", client.get_task(task_id))


@task.command("cancel", cls=Command)
@click.argument("task_id", metavar="ID")
@click.pass_obj
@examples("workmanager task cancel ID", "workmanager task list --status CANCELED")
def cancel(settings: Settings, task_id: str) -> None:
    """Cancel a task; an attempt under way is told, then killed."""
    with settings.client() as client:
        emit(settings, "task", client.cancel_task(task_id))


@task.command("retry", cls=Command)
@click.argument("task_id", metavar="ID")
@click.pass_obj
@examples("workmanager task retry ID", "workmanager task list --status SCHEDULED")
def retry(settings: Settings, task_id: str) -> None:
    """Run a task that waits for its next attempt now."""
    with settings.client() as client:
        emit(settings, "task", client.retry_task(task_id))
