"""`workmanager health`: for people, and for scripts by its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workmanager.cli import nagios
from workmanager.cli.command import Command, examples
from workmanager.cli.complete import executor_ids
from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.output import emit_document
from workmanager.cli.params import DURATION, worker_option
from workmanager.cli.text import format_seconds, sanitize
from workmanager.client.problems import ClientError

if TYPE_CHECKING:
    from workmanager.cli.settings import Settings

Json = dict[str, Any]


@click.command("health", cls=Command)
@worker_option
@click.option("--executor", metavar="ID", default="", shell_complete=executor_ids, help="Of this.")
@click.option("--nagios", "as_plugin", is_flag=True, help="As a plug-in of Nagios, Icinga, ...")
@click.option("--timeout", "timeout_s", type=DURATION, default=5.0, show_default="5s")
@click.pass_obj
@examples(
    "workmanager health",
    "workmanager health --worker orders -o json",
    "workmanager health --worker orders --nagios",
)
def health(
    settings: Settings, worker: str, executor: str, as_plugin: bool, timeout_s: float
) -> None:
    """Tell how the service is, or one worker, or one executor.

    Exit code 0 when it is ok, 1 when it is degraded or has failed, 3 when there is no such worker
    or executor, 5 when the service does not answer. With --nagios: 0 ok, 1 warning (degraded),
    2 critical (failed, or no answer), 3 unknown (all else).
    """
    whose = f"executor {executor}" if executor else f"worker {worker}" if worker else "service"
    try:
        with settings.client(timeout_s=timeout_s) as client:
            found = client.health(worker=worker, executor=executor)
    except ClientError as error:
        if not as_plugin:
            raise
        code, line = nagios.of_error(whose, error)
        click.echo(sanitize(line))
        raise click.exceptions.Exit(code) from error
    if as_plugin:
        code, line = nagios.of_health(whose, found)
        click.echo(sanitize(line))
        raise click.exceptions.Exit(code)
    if settings.is_table:
        _show(found, whose, is_wide=settings.output == "wide")
    else:
        emit_document(settings, found)
    if found["status"] != "ok":
        raise click.exceptions.Exit(ExitCode.FAILED)


def _show(found: Json, whose: str, *, is_wide: bool) -> None:
    """Write one line, and one more for each check that is not ok (`-o wide`: for each)."""
    uptime = format_seconds(found["uptimeS"])
    if whose == "service":
        words = f"workmanager {found['version']}, up {uptime}"
    else:
        words = f"{whose}, {nagios.summary(found['checks'])}, for {uptime}"
    click.echo(sanitize(f"{found['status']}: {words}"))
    for check in found.get("checks", ()):
        status = str(check.get("status", ""))
        if is_wide or status != "ok":
            click.echo(sanitize(f"  {check['name']}: {status} {check['detail']}".rstrip()))
