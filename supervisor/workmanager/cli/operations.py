"""Long work: waits for operations, shows how far they are, and ends as they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.output import emit_many, say
from workmanager.cli.progress import await_operation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workmanager.cli.settings import Settings
    from workmanager.client.light import LightClient

F = TypeVar("F", bound="Callable[..., object]")


def no_wait_option(function: F) -> F:
    """Take `--no-wait` as `no_wait`."""
    return click.option(
        "--no-wait", is_flag=True, help="Do not wait until it is done; show the operation."
    )(function)


def finish(
    settings: Settings,
    client: LightClient,
    operations: Sequence[dict[str, Any]],
    *,
    no_wait: bool,
) -> None:
    """Wait for *operations*, unless *no_wait*, and write them; one that failed is exit code 1."""
    if not no_wait:
        operations = [_awaited(client, operation) for operation in operations]
    emit_many(settings, "operation", operations, as_list=False)
    failed = [operation for operation in operations if operation.get("error")]
    for operation in failed:
        error = operation["error"]
        detail = error.get("detail") or error.get("message") or error
        say(f"error: {operation['kind']} {operation['target']}: {detail}")
    if failed:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _awaited(client: LightClient, operation: dict[str, Any]) -> dict[str, Any]:
    try:
        return await_operation(client, operation)
    except KeyboardInterrupt:
        say(f"it goes on; try: workmanager operation get {operation['id']}")
        raise
