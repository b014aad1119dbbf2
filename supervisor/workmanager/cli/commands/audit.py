"""`workmanager audit`: what was changed, by whom, and what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workmanager.cli.command import Command, examples
from workmanager.cli.complete import application_names
from workmanager.cli.listing import emit_list
from workmanager.cli.params import limit_option

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings


@click.command("audit", cls=Command)
@click.option("--principal", default="", help="Such as uid:0, token, or key:NAME/ID.")
@click.option("--application", default="", shell_complete=application_names, help="Of its keys.")
@click.option("--action", default="", help="Such as create_worker.")
@limit_option(100)
@click.pass_obj
@examples("workmanager audit", "workmanager audit --application shop --limit 0 -o jsonl")
def audit(settings: Settings, principal: str, application: str, action: str, limit: int) -> None:
    """List calls that changed something or were refused, newest first.

    Events that are published or invoked are not listed; their tasks are.
    """
    who = f"key:{application}/" if application else principal
    with settings.client() as client:
        emit_list(
            settings,
            "audit",
            lambda size, token: client.list_audit_entries(
                principal=who, action=action, page_size=size, page_token=token
            ),
            limit=limit,
        )
