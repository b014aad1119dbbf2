"""Metrics of the backend `dapr`, read like the others when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from workmanager.brokers.dapr.backend import DaprBackend
    from workmanager.brokers.dapr.subscription import Subscription


def families(dapr: DaprBackend) -> Iterator[Metric]:
    """Yield the metrics of a backend."""
    sidecar, ingress, outbox = dapr.sidecar, dapr.ingress, dapr.outbox
    yield GaugeMetricFamily(
        "workmanager_dapr_sidecar_up", "1 while the sidecar answers.", value=int(sidecar.is_up)
    )
    yield GaugeMetricFamily(
        "workmanager_dapr_outbox_events", "Events not published yet.", value=outbox.waiting
    )
    yield GaugeMetricFamily(
        "workmanager_dapr_outbox_age_seconds",
        "Age of the oldest event that is not published yet.",
        value=outbox.oldest_s(),
    )
    for name, text, value in (
        ("sidecar_reconnects", "Times the sidecar came back.", max(0, sidecar.reconnects)),
        ("published", "Events that the sidecar has taken.", outbox.published),
        ("publish_refusals", "Calls or entries that it did not take.", outbox.refusals),
        ("answers", "Deliveries answered for, after their commit.", ingress.answered),
        ("malformed", "Deliveries that were no events.", ingress.malformed),
        ("returned", "Deliveries again of what a stream held when it ended.", ingress.returned),
    ):
        yield CounterMetricFamily(f"workmanager_dapr_{name}", text, value=value)
    altered = CounterMetricFamily(
        "workmanager_dapr_altered",
        "Events that may differ from what was published, by what.",
        labels=["finding"],
    )
    for finding, count in sorted(ingress.findings.items()):
        altered.add_metric([finding.value], count)
    yield altered
    yield from _by_topic(dapr.ingress.subscriptions.values())


def _by_topic(subscriptions: Iterable[Subscription]) -> Iterator[Metric]:
    label = ["topic"]
    deliveries = CounterMetricFamily(
        "workmanager_dapr_deliveries", "Events that came by a subscription.", labels=label
    )
    streams = CounterMetricFamily(
        "workmanager_dapr_streams", "Streams opened for a subscription.", labels=label
    )
    is_open = GaugeMetricFamily(
        "workmanager_dapr_subscription_open", "1 while its stream is open.", labels=label
    )
    silence = GaugeMetricFamily(
        "workmanager_dapr_subscription_silence_seconds",
        "Since when nothing came on an open stream.",
        labels=label,
    )
    for each in subscriptions:
        deliveries.add_metric([each.topic], each.events)
        streams.add_metric([each.topic], each.opened)
        is_open.add_metric([each.topic], int(each.is_open))
        if each.session is not None and each.is_open:
            silence.add_metric([each.topic], trio.current_time() - each.session.last_at)
    yield from (deliveries, streams, is_open, silence)
