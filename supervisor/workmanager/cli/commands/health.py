"""`workmanager health`: for people, and for scripts by its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.command import Command, examples
from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.output import emit_document
from workmanager.cli.params import DURATION
from workmanager.cli.text import format_seconds, sanitize

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings

Json = dict[str, Any]


@click.command("health", cls=Command)
@click.option("--timeout", "timeout_s", type=DURATION, default=5.0, show_default="5s")
@click.pass_obj
@examples("workmanager health", "workmanager health -o json")
def health(settings: Settings, timeout_s: float) -> None:
    """Tell how the service is.

    Exit code 0 when it is ok, 1 when it is degraded or has failed, 5 when it does not answer.
    """
    with settings.client(timeout_s=timeout_s) as client:
        found = client.health()
    if settings.is_table:
        _show(found, is_wide=settings.output == "wide")
    else:
        emit_document(settings, found)
    if found["status"] != "ok":
        raise click.exceptions.Exit(ExitCode.FAILED)


def _show(found: Json, *, is_wide: bool) -> None:
    """Write one line, and one more for each check that is not ok (`-o wide`: for each)."""
    uptime = format_seconds(found["uptimeS"])
    click.echo(sanitize(f"{found['status']}: workmanager {found['version']}, up {uptime}"))
    for check in found.get("checks", ()):
        status = str(check.get("status", ""))
        if is_wide or status != "ok":
            detail = check.get("detail") or check.get("message") or ""
            click.echo(sanitize(f"  {check.get('name', '')}: {status} {detail}".rstrip()))
