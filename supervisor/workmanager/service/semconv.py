"""Metrics that OpenTelemetry's semantic conventions have names for, as Prometheus writes them.

    messaging.process.duration  [s]  ->  messaging_process_duration_seconds
    faas.coldstarts             {n}  ->  faas_coldstarts_total

Durations are counted in powers of two of a microsecond, which is what counting costs least.

Source:
    OpenTelemetry semantic conventions 1.37 for messaging, FaaS and process metrics; compatibility
    with Prometheus, "Metric metadata": dots become underscores, the unit is a suffix.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from workmanager.telemetry.processes import GONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.telemetry.processes import Usage

SHORTEST_BITS, LONGEST_BITS = 6, 29  # 64 us and nine minutes: the ends of the buckets that are told
SYSTEM = "workmanager"
_CONSUMER = ["messaging_system", "messaging_operation_name", "messaging_consumer_group_name"]
_FUNCTION = ["faas_name", "faas_trigger"]


def messaging(keepers: Sequence[Keeper]) -> Iterator[Metric]:
    """What workers consume and send; the consumer group is the worker."""
    consumed = CounterMetricFamily(
        "messaging_client_consumed_messages", "Events handed to executors.", labels=_CONSUMER
    )
    sent = CounterMetricFamily(
        "messaging_client_sent_messages", "Output events made.", labels=_CONSUMER
    )
    duration = HistogramMetricFamily(
        "messaging_process_duration_seconds", "Time that attempts took.", labels=_CONSUMER
    )
    for keeper in keepers:
        name, dispatch = keeper.record.name, keeper.dispatch
        consumed.add_metric([SYSTEM, "receive", name], dispatch.counts["handed_out"])
        sent.add_metric([SYSTEM, "send", name], dispatch.counts["outputs"])
        duration.add_metric(
            [SYSTEM, "process", name], _buckets(dispatch.durations), dispatch.busy_us / 1e6
        )
    yield from (consumed, sent, duration)


def functions(keepers: Sequence[Keeper]) -> Iterator[Metric]:
    """What became of invocations: one of a function is one attempt of a worker."""
    families = {
        "completed": CounterMetricFamily(
            "faas_invocations", "Attempts that succeeded.", labels=_FUNCTION
        ),
        "attempts_failed": CounterMetricFamily(
            "faas_errors", "Attempts that failed.", labels=_FUNCTION
        ),
        "attempts_timed_out": CounterMetricFamily(
            "faas_timeouts", "Attempts that ran out of time.", labels=_FUNCTION
        ),
        "starts": CounterMetricFamily(
            "faas_coldstarts", "Executors started.", labels=_FUNCTION
        ),
    }  # fmt: skip
    for keeper in keepers:
        for count, family in families.items():
            family.add_metric([keeper.record.name, "pubsub"], keeper.dispatch.counts[count])
    yield from families.values()


def processes(
    executors: Iterable[tuple[str, Executor]], usages: Mapping[int, Usage]
) -> Iterator[Metric]:
    """What executors use."""
    labels = ["worker", "executor"]
    cpu = CounterMetricFamily("process_cpu_time_seconds", "Processor time.", labels=labels)
    rss = GaugeMetricFamily("process_memory_usage_bytes", "Resident memory.", labels=labels)
    pss = GaugeMetricFamily(
        "process_memory_pss_bytes", "Resident memory, shared pages in proportion.", labels=labels
    )
    threads = GaugeMetricFamily("process_thread_count", "Threads.", labels=labels)
    files = GaugeMetricFamily(
        "process_unix_file_descriptor_count", "Open file descriptors.", labels=labels
    )
    for worker, live in executors:
        usage = usages.get(live.inner_pid, GONE)
        values = [worker, live.id]
        cpu.add_metric(values, usage.cpu_s)
        rss.add_metric(values, usage.memory_rss_bytes)
        pss.add_metric(values, usage.memory_pss_bytes)
        threads.add_metric(values, usage.threads)
        files.add_metric(values, usage.open_files)
    yield from (cpu, rss, pss, threads, files)


def _buckets(durations: Sequence[int]) -> list[tuple[str, float]]:
    """Return cumulative buckets of what is counted by the number of bits of its microseconds."""
    counts = list(accumulate(durations))
    told = range(SHORTEST_BITS, LONGEST_BITS + 1)
    return [*((f"{2**bits / 1e6:g}", counts[bits]) for bits in told), ("+Inf", counts[-1])]
