"""`workmanager top`: a live screen of workers and what their executors use."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.command import Command, examples
from workmanager.cli.output import emit_document, emit_streamed
from workmanager.cli.params import DURATION
from workmanager.cli.tables import STYLES, plain_table
from workmanager.cli.text import format_bytes, format_seconds, sanitize
from workmanager.client.paging import each
from workmanager.client.problems import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import RenderableType

    from workmanager.cli.settings import Settings
    from workmanager.client.light import LightClient

Json = dict[str, Any]

SHORTEST_S = 0.5  # between two looks: each reads the memory of every executor
REST = 2.0  # a look that takes long is followed by a pause of twice as long
HEADINGS = (
    "WORKER", "STATE", "READY", "EVENTS/S", "RUNNING", "BACKLOG", "FAILED", "DEAD", "CPU%", "PSS",
    "RESTARTS",
)  # fmt: skip
ORDERS = {
    "rate": "ratePerS",
    "cpu": "cpuPercent",
    "memory": "memoryPssBytes",
    "backlog": "backlog",
}


@dataclass(slots=True)
class Sampler:
    """Asks for all workers and executors, and makes rates of what has been counted between."""

    client: LightClient
    order: str
    _before: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def look(self) -> Json:
        """Return one picture: totals, and a row for each worker, the busiest first."""
        now = time.monotonic()
        used = _usage(each(_executors(self.client), limit=0))
        rows = [
            self._row(worker, used.get(worker["name"], {}), now)
            for worker in each(_workers(self.client), limit=0)
        ]
        rows.sort(key=lambda row: (-row[ORDERS[self.order]], row["name"]))
        names = {row["name"] for row in rows}
        self._before = {name: value for name, value in self._before.items() if name in names}
        return {"health": self.client.health(verbose=False), "workers": rows}

    def _row(self, worker: Json, used: Json, now: float) -> Json:
        status = worker["status"]
        done = status["tasksCompleted"] + status["tasksFailed"]
        cpu_s = used.get("cpuS", 0.0)
        then, done_then, cpu_then = self._before.get(worker["name"], (now, done, cpu_s))
        self._before[worker["name"]] = (now, done, cpu_s)
        passed_s = now - then
        return {
            "name": worker["name"],
            "state": status["state"],
            "executorsReady": status["executorsReady"],
            "executors": worker["spec"]["concurrency"]["executors"],
            "ratePerS": round(max(done - done_then, 0) / passed_s, 1) if passed_s else 0.0,
            "inFlight": status["inFlight"],
            "backlog": status["backlog"],
            "tasksFailed": status["tasksFailed"],
            "deadLetters": status["deadLetters"],
            "cpuPercent": round(max(cpu_s - cpu_then, 0) / passed_s * 100, 1) if passed_s else 0.0,
            "memoryPssBytes": used.get("memoryPssBytes", 0),
            "restarts": status["restarts"],
        }


@click.command("top", cls=Command)
@click.option(
    "--every", "every_s", type=DURATION, default=2.0, show_default="2s", help="Between two looks."
)
@click.option(
    "--sort", "order", type=click.Choice(tuple(ORDERS)), default="rate", show_default=True
)
@click.option("--once", is_flag=True, help="Two looks, one picture; as without a terminal.")
@click.pass_obj
@examples("workmanager top", "workmanager top --sort memory --once")
def top(settings: Settings, every_s: float, order: str, once: bool) -> None:
    """Show workers live: events a second, backlog, processor and memory.

    Ctrl-C ends it. Without a terminal, or with --once, it shows one picture; with `-o jsonl` it
    goes on with a line for each.
    """
    every_s = max(every_s, SHORTEST_S)
    with settings.client() as client:
        sampler = Sampler(client, order)
        sampler.look()
        if settings.output == "jsonl" and not once:
            _stream(settings, sampler, every_s)
        elif once or not settings.is_table or not sys.stdout.isatty():
            time.sleep(min(every_s, 1.0))  # rates need two looks
            _show_once(settings, sampler.look())
        else:
            _show_live(sampler, every_s)


def _show_once(settings: Settings, picture: Json) -> None:
    if settings.is_table:
        click.echo(sanitize(_summary(picture)))
        click.echo(plain_table(HEADINGS, [_cells(row) for row in picture["workers"]]), nl=False)
    else:
        emit_document(settings, picture)


def _stream(settings: Settings, sampler: Sampler, every_s: float) -> None:
    while True:
        time.sleep(every_s)
        emit_streamed(settings, sampler.look())


def _show_live(sampler: Sampler, every_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with (
        suppress(KeyboardInterrupt),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            began = time.monotonic()
            try:
                shown = _screen(sampler.look(), console.height)
            except ClientError as error:
                shown = _lost(error)
            live.update(shown, refresh=True)
            took_s = time.monotonic() - began
            time.sleep(max(every_s - took_s, took_s * REST))


def _screen(picture: Json, height: int) -> RenderableType:
    """Lay out as many rows as fit; the summary counts them all."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for heading in HEADINGS:
        is_word = heading in ("WORKER", "STATE")
        table.add_column(heading, justify="left" if is_word else "right", no_wrap=True)
    rows = picture["workers"][: max(height - 3, 1)]
    for row in rows:
        table.add_row(*(Text(sanitize(cell), style=STYLES.get(cell, "")) for cell in _cells(row)))
    return Group(Text(sanitize(_summary(picture)), style="bold"), Text(""), table)


def _lost(error: ClientError) -> RenderableType:
    from rich.text import Text

    return Text(sanitize(f"no picture: {error}"), style="bold red")


def _summary(picture: Json) -> str:
    health, rows = picture["health"], picture["workers"]
    rate = sum(row["ratePerS"] for row in rows)
    backlog = sum(row["backlog"] for row in rows)
    memory = format_bytes(sum(row["memoryPssBytes"] for row in rows))
    up = format_seconds(health["uptimeS"])
    return (
        f"{health['status']}, up {up}: {len(rows)} workers, {rate:,.0f} events/s,"
        f" {backlog:,} waiting, {memory} in executors"
    )


def _cells(row: Json) -> Sequence[str]:
    return (
        row["name"],
        row["state"],
        f"{row['executorsReady']}/{row['executors']}",
        f"{row['ratePerS']:,.1f}",
        f"{row['inFlight']:,}",
        f"{row['backlog']:,}",
        f"{row['tasksFailed']:,}",
        f"{row['deadLetters']:,}",
        f"{row['cpuPercent']:.0f}",
        format_bytes(row["memoryPssBytes"]),
        str(row["restarts"]),
    )


def _usage(executors: Iterable[Json]) -> dict[str, Json]:
    """Add up what the executors of each worker use."""
    found: dict[str, Json] = {}
    for executor in executors:
        sums = found.setdefault(executor["worker"], {"cpuS": 0.0, "memoryPssBytes": 0})
        for name in sums:
            sums[name] += executor[name]
    return found


def _workers(client: LightClient) -> Callable[[int, str], Json]:
    return lambda size, token: client.list_workers(page_size=size, page_token=token)


def _executors(client: LightClient) -> Callable[[int, str], Json]:
    return lambda size, token: client.list_executors(page_size=size, page_token=token)
