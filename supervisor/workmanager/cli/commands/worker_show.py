"""`worker get`, `list`, `describe`, `explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workmanager.cli.command import Command, examples
from workmanager.cli.describe import describe_worker
from workmanager.cli.listing import emit_list
from workmanager.cli.output import emit_document, emit_many, say
from workmanager.cli.params import limit_option, worker_argument, workers_argument
from workmanager.cli.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.cli.settings import Settings

RECENT_LINES = 10
RECENT_TASKS = 5


@click.command("list", cls=Command)
@click.option("--filter", "filter_text", default="", help="AIP-160, as in 'state = RUNNING'.")
@click.option("--order-by", default="", help="Sort by name, createdAt or updatedAt.")
@limit_option(0)
@click.pass_obj
@examples("workmanager worker list", "workmanager worker list -o json | jq '.[].name'")
def list_(settings: Settings, filter_text: str, order_by: str, limit: int) -> None:
    """List workers and how they are."""
    with settings.client() as client:
        emit_list(
            settings,
            "worker",
            lambda size, token: client.list_workers(
                filter=filter_text, order_by=order_by, page_size=size, page_token=token
            ),
            limit=limit,
        )


@click.command("get", cls=Command)
@workers_argument
@click.pass_obj
@examples("workmanager worker get orders", "workmanager worker get orders -o yaml")
def get(settings: Settings, names: Sequence[str]) -> None:
    """Show workers, by name or uid."""
    with settings.client() as client:
        found = [client.get_worker(name) for name in names]
    emit_many(settings, "worker", found, as_list=False)


@click.command("describe", cls=Command)
@worker_argument
@click.pass_obj
@examples("workmanager worker describe orders", "workmanager worker describe orders -o json")
def describe(settings: Settings, name: str) -> None:
    """Tell all about one worker.

    Conditions, versions, executors, the last tasks and log lines.
    """
    with settings.client() as client:
        facts = {
            "worker": client.get_worker(name),
            "explanation": client.explain_worker(name),
            "versions": client.list_versions(name)["items"],
            "executors": client.list_executors(name)["items"],
            "tasks": client.list_tasks(worker=name, page_size=RECENT_TASKS)["items"],
            "logs": client.logs(name, tail=RECENT_LINES),
        }
    if settings.is_table:
        click.echo("\n".join(describe_worker(facts)))
    else:
        emit_document(settings, facts)


@click.command("explain", cls=Command)
@worker_argument
@click.pass_obj
@examples("workmanager worker explain orders", "workmanager worker explain orders -o json")
def explain(settings: Settings, name: str) -> None:
    """Say in a sentence why a worker is or is not processing."""
    with settings.client() as client:
        explanation = client.explain_worker(name)
    if not settings.is_table:
        emit_document(settings, explanation)
        return
    click.echo(sanitize(explanation["summary"]))
    if settings.output == "wide":
        for fact, value in explanation.get("facts", {}).items():
            click.echo(sanitize(f"  {fact}: {value}"))
    if explanation.get("nextStep"):
        say(f"try: {explanation['nextStep']}")
