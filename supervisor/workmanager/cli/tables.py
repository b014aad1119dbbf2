"""Tables: aligned plain text for pipes and files, rich's for a terminal with colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.cli.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = "  "
STYLES = {
    "RUNNING": "green",
    "READY": "green",
    "CURRENT": "green",
    "COMPLETED": "green",
    "STARTING": "cyan",
    "PENDING": "cyan",
    "IN_PROGRESS": "cyan",
    "PAUSED": "yellow",
    "DRAINING": "yellow",
    "BACKOFF": "yellow",
    "STOPPED": "dim",
    "FAILED": "red",
    "FAILED_WITH_TERMINAL_ERROR": "red",
    "TIMED_OUT": "red",
    "REJECTED": "red",
    "UNKILLABLE": "red",
    "DELETING": "magenta",
    "created": "green",
    "changed": "yellow",
    "unchanged": "dim",
}


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text: a line for the headings and one for each row, no trailing blanks."""
    lines = [headings, *([sanitize(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headings))]
    return "".join(f"{_aligned(line, widths)}\n" for line in lines)


def print_colored(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on a terminal, with states in colour; long cells fold."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(sanitize(cell), style=STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
