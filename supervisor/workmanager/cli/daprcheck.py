"""What `workmanager doctor --dapr` shows: a line for each check, with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.output import emit_document
from workmanager.cli.text import sanitize

if TYPE_CHECKING:
    from pathlib import Path

    from workmanager.cli.settings import Settings as Options
    from workmanager.config import Settings


def examine_dapr(options: Options, settings: Settings, resources: Path | None) -> None:
    """Show how the sidecar is; exit code 1 if something would be lost with it."""
    import logging

    import structlog

    from workmanager.ops.dapr_doctor import examine, to_document

    # The connection logs its coming and going; here the checks say it.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    checks = examine(settings, resources)
    found = to_document(checks)
    if options.is_table:
        for check in checks:
            click.echo(sanitize(f"{check.name}: {check.status}, {check.detail}"))
            if check.mend:
                click.echo(sanitize(f"  to mend it: {check.mend}"))
    else:
        emit_document(options, found)
    if found["status"] != "ok":
        raise click.exceptions.Exit(ExitCode.FAILED)
