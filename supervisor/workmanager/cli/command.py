"""Commands and groups: examples first in every help, global options anywhere, lazy imports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, TypeVar, cast

import click
from click.exceptions import NoSuchCommand

from workmanager.cli.exit_codes import MEANINGS, ExitCode, exit_code_of
from workmanager.cli.failures import describe
from workmanager.cli.settings import GLOBAL_OPTIONS
from workmanager.client.problems import ClientError, ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., object]")

_EXAMPLES = "workmanager_examples"


def examples(*lines: str) -> Callable[[F], F]:
    """Give a command its examples; its help begins with them."""

    def attach(function: F) -> F:
        setattr(function, _EXAMPLES, lines)
        return function

    return attach


class PlainCommand(click.Command):
    """A command that shows its examples first; one that calls no service."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, usage, text, options, exit codes, in this order."""
        _write_examples(self, formatter)
        super().format_help(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        super().format_epilog(ctx, formatter)
        _write_exit_codes(formatter)


class Command(PlainCommand):
    """A command that calls the service: it takes the global options too."""

    global_options = GLOBAL_OPTIONS

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a refusal that names no worker gets the one of the command line."""
        try:
            return super().invoke(ctx)
        except ProblemError as problem:
            names = ctx.params.get("names") or [ctx.params.get("name")]
            if len(names) == 1 and names[0]:
                problem.metadata.setdefault("worker", str(names[0]))
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's parameters and the global options."""
        own = super().get_params(ctx)
        return [*own, *self.global_options]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then the global ones."""
        own = [param for param in self.get_params(ctx) if param not in self.global_options]
        _write_options(ctx, formatter, "Options", own)
        _write_options(ctx, formatter, "Global options", self.global_options)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named: *places* holds `module:name`."""

    places: Mapping[str, str] = {}

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the group's parameters and the global options."""
        own = super().get_params(ctx)
        return [*own, *GLOBAL_OPTIONS]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names in the order they were declared in, which is by use."""
        return [*self.places, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command named *cmd_name*; None where there is none."""
        place = self.places.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = place.partition(":")
        return cast("click.Command", getattr(import_module(module), name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for one that is mistyped, name those that are alike."""
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            names = self.list_commands(ctx)
            raise NoSuchCommand(args[0], possibilities=names, ctx=ctx) from error

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, usage, text, commands, options, exit codes, in this order."""
        _write_examples(self, formatter)
        super().format_help(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands first: they are what one looks for."""
        self.format_commands(ctx, formatter)
        _write_options(ctx, formatter, "Options", self.get_params(ctx))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        super().format_epilog(ctx, formatter)
        _write_exit_codes(formatter)


class RootGroup(LazyGroup):
    """The top command: the one border where errors become words on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command named on the command line."""
        try:
            return super().invoke(ctx)
        except ClientError as error:
            for line in describe(error):
                click.echo(line, err=True)
            ctx.exit(exit_code_of(error))
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(ExitCode.INTERRUPTED)


def lazy_group(name: str, *, places: Mapping[str, str]) -> Callable[[F], LazyGroup]:
    """Make a group of the commands at *places* (name -> `module:attribute`)."""

    def make(function: F) -> LazyGroup:
        group = click.group(name, cls=LazyGroup, no_args_is_help=True)(function)
        group.places = places
        return group

    return make


def _write_examples(command: click.Command, formatter: click.HelpFormatter) -> None:
    lines = getattr(command.callback, _EXAMPLES, ())
    if lines:
        with formatter.section("Examples"):
            for line in lines:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
        formatter.write_paragraph()


def _write_options(
    ctx: click.Context,
    formatter: click.HelpFormatter,
    title: str,
    params: tuple[click.Parameter, ...] | list[click.Parameter],
) -> None:
    options = (param for param in params if not isinstance(param, click.Argument))
    records = [record for option in options if (record := option.get_help_record(ctx))]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)


def _write_exit_codes(formatter: click.HelpFormatter) -> None:
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(int(code)), meaning) for code, meaning in MEANINGS.items()])
