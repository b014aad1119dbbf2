"""The long form of a worker for people: everything on one page, the sentence that matters first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.cli.columns import cells, columns_of
from workmanager.cli.loglines import format_line
from workmanager.cli.tables import plain_table
from workmanager.cli.text import format_age, sanitize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Json = dict[str, Any]

_COUNTS = (
    ("backlog", "waiting"),
    ("inFlight", "running"),
    ("delayed", "delayed"),
    ("tasksCompleted", "completed"),
    ("tasksFailed", "failed"),
    ("deadLetters", "dead letters"),
)


def describe_worker(facts: Json) -> Iterator[str]:
    """Yield the lines; *facts* holds worker, explanation, versions, executors, tasks and logs."""
    worker, status = facts["worker"], facts["worker"]["status"]
    yield sanitize(facts["explanation"]["summary"])
    yield ""
    yield from _fields(_head(worker))
    yield from _section("Spec", _spec_lines(worker["spec"]))
    yield from _section("Conditions", map(_condition, status.get("conditions", ())))
    yield from _section("Versions", _table("version", facts["versions"]))
    yield from _section("Executors", _table("executor", facts["executors"]))
    yield from _section("Last tasks", _table("task", facts["tasks"]))
    yield from _section(
        "Last lines", (format_line(line, is_merged=False) for line in facts["logs"])
    )


def _head(worker: Json) -> Iterator[tuple[str, object]]:
    status = worker["status"]
    yield "Name", worker["name"]
    yield "Uid", worker["uid"]
    yield "State", f"{status['state']} (asked for: {worker['desiredState']})"
    yield "Labels", ", ".join(f"{key}={value}" for key, value in worker["labels"].items())
    yield "Created", f"{format_age(worker['createdAt'])} ago, generation {worker['generation']}"
    yield "Version", status.get("currentVersion")
    yield "Candidate", status.get("candidateVersion")
    yield "Tasks", ", ".join(f"{status[key]} {word}" for key, word in _COUNTS if status.get(key))
    yield "Restarts", status.get("restarts")
    yield "Last event", _ago(status.get("lastEventTime"))
    yield "Last error", status.get("lastError")


def _ago(when: str | None) -> str:
    return f"{format_age(when)} ago" if when else ""


def _fields(pairs: Iterator[tuple[str, object]]) -> Iterator[str]:
    for label, value in pairs:
        if value:
            yield f"{label + ':':<12}{sanitize(str(value))}"


def _section(title: str, lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in found)


def _spec_lines(spec: Json) -> Iterator[str]:
    """Show what is asked for most; `worker get -o yaml` has all of it."""
    retry, timeouts, parallel = spec["retry"], spec["timeouts"], spec["concurrency"]
    attempts = f"{retry['maximumAttempts']} attempts, {retry['backoff']}"
    pairs = {
        "Engine": spec["engine"],
        "Handler": spec["handler"],
        "Python": spec["python"],
        "Code from": spec["code"]["url"],
        "Topics": ", ".join(trigger["topic"] for trigger in spec["triggers"]),
        "Outputs to": spec["outputs"]["topic"],
        "Group": (spec["group"] or {}).get("name"),
        "Ordering": spec["ordering"]["mode"],
        "Batch": spec["batch"]["size"] if spec["batch"]["size"] > 1 else "",
        "Executors": f"{parallel['executors']}, {parallel['perExecutor']} at a time each",
        "Retry": f"{attempts} from {retry['initialInterval']:g} s",
        "Time limit": f"{timeouts['startToClose']:g} s an attempt",
        "Env": ", ".join(spec["env"]),  # names only: values may be secrets
    }
    yield from _fields(iter(pairs.items()))


def _condition(condition: Json) -> str:
    status = "yes" if condition["status"] else "no"
    words = f"{condition['reason']} {condition.get('message', '')}".strip()
    return sanitize(f"{condition['type']:<15} {status:<4} {words}")


def _table(kind: str, items: Sequence[Json]) -> list[str]:
    if not items:
        return []
    columns = columns_of(kind, is_wide=False)
    rows = [cells(columns, item) for item in items]
    return plain_table([column.heading for column in columns], rows).splitlines()
