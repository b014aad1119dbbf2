"""Prometheus metrics, read from the counters of dispatch when somebody asks; nothing per event.

What is WorkManager's own is here; what OpenTelemetry has names for is in `semconv`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from workmanager import __version__
from workmanager.policy.limits import LIMITS
from workmanager.service import semconv
from workmanager.telemetry import dapr
from workmanager.telemetry.processes import usages_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.core import Metric

    from workmanager.executors.executor import Executor
    from workmanager.groups.local import HostLock
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.supervisor import Supervisor
    from workmanager.telemetry.processes import Usage

_TASKS = {
    "completed": "Tasks that succeeded.",
    "failed": "Tasks that ended without success.",
    "retried": "Attempts that failed and are made again.",
    "crashed": "Executor crashes charged to a task.",
    "skipped": "Tasks dropped, expired or overflowed.",
    "dead_lettered": "Tasks that became dead letters.",
    "lease_lost": "Outcomes dropped: another host may have had the lease of their group.",
    "duplicates": "Events not accepted because they had been before.",
    "outputs": "Output events made.",
    "unrouted": "Output events on topics that no worker consumes.",
}


class Metrics:
    """Renders the metrics of a supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._usages: dict[int, Usage] = {}

    async def render(self) -> bytes:
        """Return the metrics in the Prometheus text format."""
        pids = [live.inner_pid for _, live in self._executors()]
        self._usages = await usages_of(pids)
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric (prometheus_client's collector protocol)."""
        keepers = list(self._sup.keepers.values())
        yield from self._service()
        yield from _tasks(keepers)
        yield from _inboxes(keepers)
        yield from _states(keepers)
        yield from _groups(list(self._sup.core.locks.values()))
        yield from semconv.messaging(keepers)
        yield from semconv.functions(keepers)
        yield from semconv.processes(self._executors(), self._usages)
        if self._sup.dapr is not None:
            yield from dapr.families(self._sup.dapr)

    def _service(self) -> Iterable[Metric]:
        sup, core = self._sup, self._sup.core
        info = GaugeMetricFamily("workmanager_info", "Version of the service.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        for name, text, value in (
            ("events_published", "Events accepted from publishers.", core.counts["published"]),
            ("events_unrouted", "Events on topics without a worker.", core.counts["unrouted"]),
            ("store_commits", "Commits written.", core.ledger.commits),
            ("log_lines", "Lines that workers wrote.", sup.logbook.total),
            ("zygote_restarts", "Times the zygote was started again.", sup.zygote.restarts),
            ("spans_sent", "Spans that the collector took.", sup.spans.sent if sup.spans else 0),
            ("spans_dropped", "Spans lost.", sup.spans.dropped if sup.spans else 0),
        ):
            yield CounterMetricFamily(f"workmanager_{name}", text, value=value)
        yield GaugeMetricFamily(
            "workmanager_store_healthy",
            "1 while the store takes writes.",
            value=int(core.ledger.error is None),
        )

    def _executors(self) -> Iterator[tuple[str, Executor]]:
        for keeper in list(self._sup.keepers.values()):
            for executor in list(keeper.executors.values()):
                yield keeper.record.name, executor


def _tasks(keepers: Sequence[Keeper]) -> Iterator[Metric]:
    for name, text in _TASKS.items():
        counter = CounterMetricFamily(f"workmanager_tasks_{name}", text, labels=["worker"])
        for keeper in keepers:
            counter.add_metric([keeper.record.name], keeper.dispatch.counts[name])
        yield counter
    hits = CounterMetricFamily(
        "workmanager_limit_hits",
        "Attempts and executors that ran into a limit.",
        labels=["worker", "limit"],
    )
    for keeper in keepers:
        for limit in LIMITS:
            hits.add_metric([keeper.record.name, limit], keeper.dispatch.counts[f"limit_{limit}"])
    yield hits


def _inboxes(keepers: Sequence[Keeper]) -> Iterator[Metric]:
    label = ["worker"]
    busy = CounterMetricFamily(
        "workmanager_tasks_busy_seconds", "Time spent in handlers.", labels=label
    )
    backlog = GaugeMetricFamily("workmanager_inbox_tasks", "Open tasks.", labels=label)
    size = GaugeMetricFamily("workmanager_inbox_bytes", "What open tasks weigh.", labels=label)
    flying = GaugeMetricFamily("workmanager_tasks_in_flight", "Tasks in hand.", labels=label)
    letters = GaugeMetricFamily("workmanager_dead_letters", "Dead letters kept.", labels=label)
    for keeper in keepers:
        labels, dispatch = [keeper.record.name], keeper.dispatch
        busy.add_metric(labels, dispatch.busy_us / 1e6)
        backlog.add_metric(labels, dispatch.backlog)
        size.add_metric(labels, dispatch.backlog_bytes)
        flying.add_metric(labels, sum(len(e.hand) for e in keeper.executors.values()))
        letters.add_metric(labels, dispatch.dead_letters)
    yield from (busy, backlog, size, flying, letters)


def _states(keepers: Sequence[Keeper]) -> Iterator[Metric]:
    restarts = CounterMetricFamily(
        "workmanager_executor_restarts", "Executors that ended by themselves.", labels=["worker"]
    )
    state = GaugeMetricFamily(
        "workmanager_worker_state", "1 for the state the worker is in.", labels=["worker", "state"]
    )
    for keeper in keepers:
        restarts.add_metric([keeper.record.name], keeper.restarts)
        state.add_metric([keeper.record.name, keeper.state.value], 1)
    yield from (restarts, state)


def _groups(locks: Sequence[HostLock]) -> Iterator[Metric]:
    """What groups wait and hold: turns on this host, and the leases behind them."""
    leases = [lock.leases for lock in locks if lock.leases is not None]
    for name, text, found in (
        ("turns", "Turns that ended.", [k.turn_count for k in locks]),
        ("wait_seconds", "Time that turns were waited for.", [k.wait_s for k in locks]),
        ("hold_seconds", "Time that turns lasted.", [k.held_s for k in locks]),
        ("leases", "Leases taken across hosts.", [k.granted for k in leases]),
        ("lease_wait_seconds", "Time leases were asked for.", [k.wait_s for k in leases]),
        ("lease_hold_seconds", "Time leases were held.", [k.held_s for k in leases]),
        ("leases_lost", "Leases that ran out in use.", [k.lost for k in leases]),
    ):
        names = [k.group for k in leases] if "lease" in name else [k.name for k in locks]
        counter = CounterMetricFamily(f"workmanager_group_{name}", text, labels=["group"])
        for group, value in zip(names, found, strict=True):
            counter.add_metric([group], value)
        yield counter
