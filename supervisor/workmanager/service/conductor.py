"""The metrics that a Conductor worker has, by their names there: for dashboards that know them.

They are a second view of counters that are there anyway. Conductor's workers ask a server for tasks
("poll") and tell it what became of them ("update"); what comes next to that here is how executors
are handed tasks and how their outcomes are taken.

Source:
    Conductor OSS, "Client Metrics": names and labels; its Go client writes the counters without the
    suffix `_total`, and times and sizes as gauges of what was seen last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.supervisor import Supervisor

_COUNTERS: dict[str, tuple[str, Callable[[Keeper], int]]] = {
    "task_poll_counter": (
        "Times that an executor was handed tasks.",
        lambda keeper: keeper.dispatch.counts["handouts"],
    ),
    "task_poll_error": (
        "Executors that ended by themselves instead of taking tasks.",
        lambda keeper: keeper.restarts,
    ),
    "task_execute_error": (
        "Attempts that failed.",
        lambda keeper: keeper.dispatch.counts["attempts_failed"],
    ),
    "task_update_error": (
        "Attempts whose outputs could not be taken.",
        lambda keeper: keeper.dispatch.counts["outputs_refused"],
    ),
}
_GAUGES: dict[str, tuple[str, Callable[[WorkerDispatch], float]]] = {
    "task_poll_time": (
        "Seconds that the tasks handed out last had waited.",
        lambda dispatch: dispatch.last_wait_s,
    ),
    "task_execute_time": (
        "Seconds that the attempt answered last took.",
        lambda dispatch: dispatch.last_duration_us / 1e6,
    ),
    "task_result_size": (
        "Bytes of the outputs made last.",
        lambda dispatch: dispatch.last_output_bytes,
    ),
}
_MORE_LABELS = {"task_poll_error": ',includeRetries="true",status="EXECUTOR_LOST"'}


class ConductorMetrics:
    """Renders them for a supervisor; a worker is a task type."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor

    def render(self) -> bytes:
        """Return the metrics in the Prometheus text format."""
        return "".join(f"{line}\n" for line in self._lines()).encode()

    def _lines(self) -> Iterator[str]:
        keepers = list(self._sup.keepers.values())
        for name, (text, count) in _COUNTERS.items():
            yield from (f"# HELP {name} {text}", f"# TYPE {name} counter")
            more = _MORE_LABELS.get(name, "")
            for keeper in keepers:
                yield f'{name}{{taskType="{keeper.record.name}"{more}}} {count(keeper)}'
        for name, (text, value) in _GAUGES.items():
            yield from (f"# HELP {name} {text}", f"# TYPE {name} gauge")
            for keeper in keepers:
                yield f'{name}{{taskType="{keeper.record.name}"}} {value(keeper.dispatch):g}'
