"""`worker wait`: until workers are as wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.command import Command, examples
from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.output import emit_many, say
from workmanager.cli.params import DURATION, workers_argument
from workmanager.cli.progress import Poll, Progress
from workmanager.client.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.cli.settings import Settings
    from workmanager.client.light import LightClient

Json = dict[str, Any]

GOALS = ("running", "stopped", "deleted", "idle")
_STATES = {"running": "RUNNING", "stopped": "STOPPED"}


@click.command("wait", cls=Command)
@workers_argument
@click.option(
    "--for",
    "goal",
    type=click.Choice(GOALS),
    default="running",
    show_default=True,
    help="idle: nothing waits, nothing runs, nothing is delayed.",
)
@click.option("--timeout", "timeout_s", type=DURATION, default=30.0, show_default="30s")
@click.pass_obj
@examples(
    "workmanager worker wait orders",
    "workmanager worker wait orders invoices --for idle --timeout 5m",
)
def wait(settings: Settings, names: Sequence[str], goal: str, timeout_s: float) -> None:
    """Wait until all the workers are as wanted.

    Exit code 1 when the time is up, or at once when a worker that is to run has FAILED.
    """
    poll = Poll(timeout_s)
    label = f"wait for {goal}"
    with settings.client() as client, Progress(label) as progress:
        reached: list[Json] = []
        for name in names:
            worker = _look(client, name, goal)
            while not is_reached(worker, goal):
                _stop_if_vain(worker, goal)
                progress.show(f"{name} is {state_of(worker)}")
                if not poll.wait():
                    say(f"error: {name} is not {goal} after {timeout_s:g} s: {state_of(worker)}")
                    say(f"try: workmanager worker explain {name}")
                    raise click.exceptions.Exit(ExitCode.FAILED)
                worker = _look(client, name, goal)
            reached += [worker] if worker else []
    if reached:
        emit_many(settings, "worker", reached, as_list=False)


def is_reached(worker: Json | None, goal: str) -> bool:
    """Tell whether *worker* (None: it does not exist) is as *goal* says."""
    if worker is None:
        return goal == "deleted"
    status = worker["status"]
    if goal == "idle":
        return not any(status.get(count) for count in ("backlog", "inFlight", "delayed"))
    return bool(status["state"] == _STATES.get(goal))


def state_of(worker: Json | None) -> str:
    """Say how *worker* is, in a few words."""
    if worker is None:
        return "not there"
    status = worker["status"]
    counts = [
        f"{status[key]} {word}"
        for key, word in (("backlog", "waiting"), ("inFlight", "running"), ("delayed", "delayed"))
        if status.get(key)
    ]
    return ", ".join([str(status["state"]), *counts])


def _look(client: LightClient, name: str, goal: str) -> Json | None:
    try:
        worker: Json = client.get_worker(name)
    except ProblemError as problem:
        if goal == "deleted" and problem.reason == "WORKER_NOT_FOUND":
            return None
        raise
    return worker


def _stop_if_vain(worker: Json | None, goal: str) -> None:
    if worker is None or worker["status"]["state"] != "FAILED" or goal != "running":
        return
    error = worker["status"].get("lastError") or "it ended too often"
    say(f"error: {worker['name']} is FAILED: {error}")
    say(f"try: workmanager worker explain {worker['name']}")
    raise click.exceptions.Exit(ExitCode.FAILED)
