"""`workmanager dead-letter`: tasks that used up their attempts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

import click

from workmanager.cli.command import Command, LazyGroup, examples
from workmanager.cli.listing import emit_list
from workmanager.cli.operations import finish, no_wait_option
from workmanager.cli.output import emit
from workmanager.cli.params import limit_option, worker_option

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workmanager.cli.settings import Settings

F = TypeVar("F", bound="Callable[..., object]")


def _filter_options(function: F) -> F:
    """Take `worker`, `reason`, `error_type` and `event_type`."""
    function = click.option("--event-type", default="", help="Of events of this type.")(function)
    function = click.option("--error-type", default="", help="That failed with this.")(function)
    function = click.option("--reason", default="", help="For this reason.")(function)
    return worker_option(function)


_IDS = click.argument("ids", nargs=-1, metavar="[ID]...")
_ALL = click.option("--all", "is_all", is_flag=True, help="All there are; instead of a filter.")


@click.group("dead-letter", cls=LazyGroup, no_args_is_help=True)
@examples(
    "workmanager dead-letter list --worker orders",
    "workmanager dead-letter redrive --worker orders",
)
def dead_letter() -> None:
    """See, redrive and forget tasks that used up their attempts."""


@dead_letter.command("list", cls=Command)
@_filter_options
@limit_option(100)
@click.pass_obj
@examples(
    "workmanager dead-letter list --worker orders",
    "workmanager dead-letter list --error-type ValueError -o wide",
)
def list_(settings: Settings, /, limit: int, **filters: str) -> None:
    """List dead letters, the newest first."""
    with settings.client() as client:
        emit_list(
            settings,
            "dead-letter",
            lambda size, token: client.list_dead_letters(
                page_size=size, page_token=token, **filters
            ),
            limit=limit,
        )


@dead_letter.command("get", cls=Command)
@click.argument("dead_letter_id", metavar="ID")
@click.pass_obj
@examples("workmanager dead-letter get ID", "workmanager dead-letter get ID -o yaml")
def get(settings: Settings, dead_letter_id: str) -> None:
    """Show one dead letter; `-o yaml` with its event and traceback."""
    with settings.client() as client:
        emit(settings, "dead-letter", client.get_dead_letter(dead_letter_id))


@dead_letter.command("redrive", cls=Command)
@_IDS
@_filter_options
@_ALL
@click.option("--to-version", metavar="ID", default="", help="To this version of the worker.")
@click.option("--max-rate", type=click.FloatRange(min=0, min_open=True), help="So many a second.")
@no_wait_option
@click.pass_obj
@examples(
    "workmanager dead-letter redrive ID",
    "workmanager dead-letter redrive --worker orders --error-type TimeoutError --max-rate 50",
)
def redrive(
    settings: Settings,
    /,
    ids: Sequence[str],
    to_version: str,
    max_rate: float | None,
    *,
    is_all: bool,
    no_wait: bool,
    **filters: str,
) -> None:
    """Hand dead letters to their workers again, with fresh attempts."""
    _check_selection(ids, filters, is_all=is_all)
    with settings.client() as client:
        operation = client.redrive(ids=ids, target_version=to_version, max_rate=max_rate, **filters)
        finish(settings, client, [operation], no_wait=no_wait)


@dead_letter.command("purge", cls=Command)
@_IDS
@_filter_options
@_ALL
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
@examples(
    "workmanager dead-letter purge ID --yes",
    "workmanager dead-letter purge --worker orders --reason EXPIRED",
)
def purge(
    settings: Settings,
    /,
    ids: Sequence[str],
    *,
    is_all: bool,
    yes: bool,
    **filters: str,
) -> None:
    """Forget dead letters for good; asks first, and without a terminal needs --yes."""
    _check_selection(ids, filters, is_all=is_all)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("purge forgets events for good: give --yes")
        click.confirm("Forget these dead letters for good?", abort=True, err=True)
    with settings.client() as client:
        emit(settings, "count", client.purge_dead_letters(ids=ids, **filters))


def _check_selection(ids: Sequence[str], filters: Mapping[str, str], *, is_all: bool) -> None:
    """Refuse to take an empty command line for "all of them"."""
    chosen = [bool(ids), any(filters.values()), is_all]
    if sum(chosen) != 1:
        raise click.UsageError("say which: ids, or filters, or --all")
