"""Kinds of arguments and options that several commands take."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from workmanager.cli.complete import worker_names
from workmanager.cli.text import parse_duration_s

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


class DurationType(click.ParamType[float]):
    """A duration such as `30s`; its value is in seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text of the command line; a default is a number of seconds already."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_duration_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class PairType(click.ParamType[tuple[str, str]]):
    """A pair `name=value`."""

    name = "name=value"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split at the first equals sign."""
        name, separator, text = str(value).partition("=")
        if not separator or not name:
            self.fail(f"{value!r} is not of the form name=value", param, ctx)
        return name, text


DURATION = DurationType()
PAIR = PairType()


def worker_argument(function: F) -> F:
    """Take the name of one worker as `name`."""
    return click.argument("name", shell_complete=worker_names)(function)


def workers_argument(function: F) -> F:
    """Take the names of one or more workers as `names`."""
    return click.argument("names", nargs=-1, required=True, shell_complete=worker_names)(function)


def worker_option(function: F) -> F:
    """Take `--worker`, a filter, as `worker`."""
    return click.option(
        "--worker", metavar="NAME", default="", shell_complete=worker_names, help="Of this worker."
    )(function)


def limit_option(default: int) -> Callable[[F], F]:
    """Take `--limit` as `limit`."""
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        default=default,
        show_default=True,
        help="At most so many; 0 for all.",
    )
