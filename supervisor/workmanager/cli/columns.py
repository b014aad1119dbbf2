"""The columns of each kind of resource: the short table, and what `-o wide` adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workmanager.cli.text import format_age, format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

Row = dict[str, Any]
SHORT_DIGEST_CHARS = 12


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, what stands under it, and whether only the wide table has it."""

    heading: str
    cell: Callable[[Row], object]
    is_wide: bool = False


def cells(columns: tuple[Column, ...], row: Row) -> list[str]:
    """Return the texts of one row."""
    return [_text(column.cell(row)) for column in columns]


def columns_of(kind: str, *, is_wide: bool) -> tuple[Column, ...]:
    """Return the columns of the table for *kind*."""
    return tuple(column for column in COLUMNS[kind] if is_wide or not column.is_wide)


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _at(path: str) -> Callable[[Row], object]:
    """Make a cell that shows the member at the dotted *path*."""
    names = path.split(".")

    def cell(row: Row) -> object:
        value: Any = row
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    return cell


def _age(path: str) -> Callable[[Row], object]:
    return lambda row: format_age(str(_at(path)(row) or ""))


def _seconds(path: str) -> Callable[[Row], object]:
    return lambda row: _shown(_at(path)(row), format_seconds)


def _size(path: str) -> Callable[[Row], object]:
    return lambda row: _shown(_at(path)(row), format_bytes)


def _digest(path: str) -> Callable[[Row], object]:
    return lambda row: short_digest(str(_at(path)(row) or ""))


def _joined(path: str, member: str) -> Callable[[Row], object]:
    def cell(row: Row) -> object:
        items: Any = _at(path)(row) or []
        return ",".join(str(item[member]) for item in items)

    return cell


def _summed(path: str, member: str) -> Callable[[Row], object]:
    def cell(row: Row) -> object:
        items: Any = _at(path)(row) or []
        return sum(item[member] for item in items)

    return cell


def _shown(value: object, write: Callable[[float], str]) -> str:
    return write(value) if isinstance(value, int | float) else ""


def short_digest(digest: str) -> str:
    """Return enough of a digest to know it by."""
    return digest.removeprefix("sha256:")[:SHORT_DIGEST_CHARS]


def _executors(row: Row) -> object:
    asked = (_at("spec.concurrency.executors")(row)) or 1
    return f"{_at('status.executorsReady')(row) or 0}/{asked}"


def _first_line(path: str) -> Callable[[Row], object]:
    return lambda row: str(_at(path)(row) or "").partition("\n")[0]


def _worker_columns(prefix: str = "") -> tuple[Column, ...]:
    return (
        Column("NAME", _at(f"{prefix}name")),
        Column("STATE", _at(f"{prefix}status.state")),
        Column("DESIRED", _at(f"{prefix}desiredState")),
    )


def _grants(row: Row) -> object:
    """Write grants as they are given on the command line."""
    return " ".join(
        f"{','.join(grant['workers'])}={','.join(grant['rights'])}"
        + (f":{','.join(grant['secrets'])}" if grant["secrets"] else "")
        for grant in row["grants"]
    )


COLUMNS: dict[str, tuple[Column, ...]] = {
    "worker": (
        *_worker_columns(),
        Column("READY", _executors),
        Column("BACKLOG", _at("status.backlog")),
        Column("RUNNING", _at("status.inFlight")),
        Column("COMPLETED", _at("status.tasksCompleted")),
        Column("DEAD", _at("status.deadLetters")),
        Column("AGE", _age("createdAt")),
        Column("VERSION", _digest("status.currentVersion"), is_wide=True),
        Column("TOPICS", _joined("spec.triggers", "topic"), is_wide=True),
        Column("GROUP", _at("spec.group.name"), is_wide=True),
        Column("RESTARTS", _at("status.restarts"), is_wide=True),
        Column("UID", _at("uid"), is_wide=True),
        Column("LAST ERROR", _first_line("status.lastError"), is_wide=True),
    ),
    "apply": (
        Column("NAME", _at("worker.name")),
        Column("CHANGE", _at("change")),
        Column("STATE", _at("worker.status.state")),
        Column("GENERATION", _at("worker.generation")),
        Column("VERSION", _digest("worker.status.currentVersion"), is_wide=True),
        Column("UID", _at("worker.uid"), is_wide=True),
    ),
    "version": (
        Column("ID", _at("id")),
        Column("WORKER", _at("worker")),
        Column("STATE", _at("state")),
        Column("ENGINE", _at("engine")),
        Column("SIZE", _size("sizeBytes")),
        Column("AGE", _age("createdAt")),
        Column("MESSAGE", _first_line("message")),
        Column("HANDLER", _at("handler"), is_wide=True),
        Column("CODE", _digest("codeDigest"), is_wide=True),
    ),
    "executor": (
        Column("ID", _at("id")),
        Column("WORKER", _at("worker")),
        Column("PID", _at("pid")),
        Column("STATE", _at("state")),
        Column("RUNNING", _at("inFlight")),
        Column("TASKS", _at("tasksTotal")),
        Column("CPU", _seconds("cpuS")),
        Column("MEMORY", _size("memoryRssBytes")),
        Column("UPTIME", _seconds("uptimeS")),
        Column("VERSION", _digest("version"), is_wide=True),
        Column("PSS", _size("memoryPssBytes"), is_wide=True),
        Column("THREADS", _at("threads"), is_wide=True),
        Column("FILES", _at("openFiles"), is_wide=True),
    ),
    "task": (
        Column("ID", _at("id")),
        Column("WORKER", _at("worker")),
        Column("STATUS", _at("status")),
        Column("ATTEMPT", lambda row: f"{row.get('attempt', 0)}/{row.get('maxAttempts', 0)}"),
        Column("TYPE", _at("eventType")),
        Column("EVENT", _at("eventId")),
        Column("TOOK", _seconds("durationS")),
        Column("AGE", _age("scheduledAt")),
        Column("ERROR", _at("error.type")),
        Column("SOURCE", _at("eventSource"), is_wide=True),
        Column("TOPIC", _at("topic"), is_wide=True),
        Column("VERSION", _digest("version"), is_wide=True),
        Column("EXECUTOR", _at("executor"), is_wide=True),
        Column("OUTPUTS", _at("outputs"), is_wide=True),
    ),
    "dead-letter": (
        Column("ID", _at("id")),
        Column("WORKER", _at("worker")),
        Column("REASON", _at("reason")),
        Column("ERROR", _at("error.type")),
        Column("ATTEMPTS", _at("attempts")),
        Column("TYPE", _at("event.type")),
        Column("AGE", _age("failedAt")),
        Column("TOPIC", _at("topic"), is_wide=True),
        Column("EVENT", _at("event.id"), is_wide=True),
        Column("CRASHES", _at("crashes"), is_wide=True),
        Column("MESSAGE", _first_line("error.message"), is_wide=True),
    ),
    "group": (
        Column("NAME", _at("name")),
        Column("LIMIT", _at("limit")),
        Column("DELIVERY", _at("delivery")),
        Column("MEMBERS", _joined("members", "worker")),
        Column("HOLDING", _summed("members", "holding")),
        Column("WAITING", _summed("members", "waiting")),
        Column("TOKEN", _at("fencingToken")),
        Column("KEY", _at("key"), is_wide=True),
        Column("SCOPE", _at("scope"), is_wide=True),
    ),
    "engine": (
        Column("MEDIA TYPE", _at("mediaType")),
        Column("AVAILABLE", _at("available")),
        Column("RUNTIME", _at("runtimeVersion")),
        Column("DETAIL", _first_line("detail")),
        Column("ALIASES", lambda row: ",".join(row.get("aliases", [])), is_wide=True),
    ),
    "operation": (
        Column("ID", _at("id")),
        Column("KIND", _at("kind")),
        Column("TARGET", _at("target")),
        Column("DONE", _at("done")),
        Column("PROGRESS", _first_line("progress")),
        Column("AGE", _age("createdAt")),
        Column("ERROR", _first_line("error.detail")),
    ),
    "publish": (
        Column("TOPIC", _at("topic")),
        Column("ACCEPTED", _at("accepted")),
        Column("DUPLICATES", _at("duplicates")),
        Column("DELIVERIES", _at("deliveries")),
    ),
    "invoke": (
        Column("TASK", _at("task")),
        Column("STATUS", _at("status")),
        Column("TOOK", _seconds("durationS")),
        Column("OUTPUTS", lambda row: len(row.get("outputs", []))),
        Column("ERROR", _at("error.type")),
    ),
    "application": (
        Column("NAME", _at("name")),
        Column("MAY", _grants),
        Column("KEYS", _at("keys")),
        Column("AGE", _age("createdAt")),
        Column("DESCRIPTION", _first_line("description")),
    ),
    "access-key": (
        Column("ID", _at("id")),
        Column("AGE", _age("createdAt")),
        Column("LAST USED", _age("lastUsedAt")),
        Column("ENDS", _at("expiresAt")),
        Column("DESCRIPTION", _first_line("description")),
    ),
    "audit": (
        Column("TIME", _at("time")),
        Column("PRINCIPAL", _at("principal")),
        Column("ACTION", _at("action")),
        Column("TARGET", _at("target")),
        Column("OUTCOME", _at("outcome")),
        Column("REASON", _at("reason")),
    ),
    "count": (Column("COUNT", _at("count")),),
    "change": (
        Column("WORKER", _at("worker")),
        Column("PATH", _at("path")),
        Column("OLD", _at("old")),
        Column("NEW", _at("new")),
    ),
}
