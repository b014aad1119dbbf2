"""Log lines: which of them are wanted, and how they look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.text import parse_duration_s, sanitize

if TYPE_CHECKING:
    from collections.abc import Collection

Json = dict[str, Any]

_LEVEL_COLORS = {"error": "red", "critical": "red", "warning": "yellow", "debug": "bright_black"}
_WORKER_COLORS = ("cyan", "magenta", "blue", "green", "yellow", "bright_cyan", "bright_magenta")


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Which lines are wanted: of these workers (none: of all), of this task, since then."""

    workers: Collection[str] = ()
    task: str = ""
    since: datetime | None = None

    def matches(self, line: Json) -> bool:
        """Tell whether *line* is wanted."""
        if self.workers and line["worker"] not in self.workers:
            return False
        if self.task and line.get("task") != self.task:
            return False
        return self.since is None or datetime.fromisoformat(line["time"]) >= self.since


def parse_since(text: str, *, now: datetime | None = None) -> datetime:
    """Read a duration before now (`10m`), or an RFC 3339 time; one without an offset is local.

    Raises:
        ValueError: It is neither.
    """
    try:
        return (now or datetime.now(UTC)) - timedelta(seconds=parse_duration_s(text))
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither a duration such as 10m nor a time") from None


def format_line(line: Json, *, is_merged: bool, is_color: bool = False) -> str:
    """Write a line for people: time, worker where lines of several are merged, task, text."""
    time = datetime.fromisoformat(line["time"]).astimezone()
    parts = [time.strftime("%H:%M:%S.") + f"{time.microsecond // 1000:03}"]
    if is_merged:
        parts.append(_styled(line["worker"], _worker_color(line["worker"]), is_color=is_color))
    level = line.get("level") or line["stream"]
    parts.append(_styled(f"{level:<7}", _LEVEL_COLORS.get(level.lower()), is_color=is_color))
    if line.get("task"):
        parts.append(f"[{line['task']}]")
    parts.append(sanitize(line["text"]))
    return " ".join(parts)


def _styled(text: str, color: str | None, *, is_color: bool) -> str:
    text = sanitize(text)
    return click.style(text, fg=color) if is_color and color else text


def _worker_color(worker: str) -> str:
    """Choose by name, so that a worker has the same colour in every terminal."""
    return _WORKER_COLORS[sum(worker.encode()) % len(_WORKER_COLORS)]
