"""`worker logs`: what workers wrote."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.command import Command, examples
from workmanager.cli.complete import worker_names
from workmanager.cli.loglines import LineFilter, format_line, parse_since
from workmanager.cli.output import emit_all, emit_streamed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from workmanager.cli.settings import Settings

Json = dict[str, Any]

DEFAULT_LINES = 100
ALL_LINES = 0


class SinceType(click.ParamType["datetime"]):
    """A time, or how long ago."""

    name = "when"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read the text of the command line."""
        try:
            return parse_since(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("logs", cls=Command)
@click.argument("names", nargs=-1, shell_complete=worker_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines as they come.")
@click.option("--tail", type=click.IntRange(min=0), help="The last so many lines.  [default: 100]")
@click.option("--since", type=SinceType(), help="Since a time, or for how long: 10m.")
@click.option("--task", metavar="ID", default="", help="Of this task only.")
@click.pass_obj
@examples("workmanager worker logs orders -f", "workmanager worker logs --since 10m -o jsonl")
def logs(
    settings: Settings,
    names: Sequence[str],
    *,
    follow: bool,
    tail: int | None,
    since: datetime | None,
    task: str,
) -> None:
    """Show what workers wrote.

    Of all workers if none is named; lines of several are merged by time.
    """
    wanted = LineFilter(frozenset(names) if len(names) > 1 else (), task, since)
    ref = names[0] if len(names) == 1 else ""
    show = _Writer(settings, is_merged=len(names) != 1)
    with settings.client() as client:
        kept = client.logs(ref, tail=_asked(wanted, tail))
        shown = _last([line for line in kept if wanted.matches(line)], tail)
        if not follow:
            show.all(shown)
            return
        for line in shown:
            show.line(line)
        since_seq = kept[-1]["seq"] if kept else 0
        with closing(client.tail_logs(ref, since_seq=since_seq, tail=0)) as lines:
            for line in filter(wanted.matches, lines):
                show.line(line)


def _asked(wanted: LineFilter, tail: int | None) -> int:
    """Return how many lines to ask for: all where some will not be shown, at least the last."""
    if wanted.workers or wanted.task or wanted.since:
        return ALL_LINES
    return DEFAULT_LINES if tail is None else max(tail, 1)


def _last(lines: list[Json], count: int | None) -> list[Json]:
    return lines if count is None else lines[max(len(lines) - count, 0) :]


class _Writer:
    """Writes lines in the form that `-o` names; a document a line where lines keep coming."""

    def __init__(self, settings: Settings, *, is_merged: bool) -> None:
        self._settings = settings
        self._is_merged = is_merged

    def all(self, lines: Sequence[Json]) -> None:
        """Write the lines of a call that ends."""
        if self._settings.is_table:
            for line in lines:
                self.line(line)
        else:
            emit_all(self._settings, "log", lines)

    def line(self, line: Json) -> None:
        """Write one of many lines, at once."""
        if self._settings.is_table:
            is_color = self._settings.is_color
            click.echo(format_line(line, is_merged=self._is_merged, is_color=is_color))
        else:
            emit_streamed(self._settings, line)
