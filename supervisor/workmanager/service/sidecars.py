"""What the backend `dapr` tells of itself: health, and why a worker has nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from workmanager.service.health import check

if TYPE_CHECKING:
    from workmanager.brokers.dapr.backend import DaprBackend
    from workmanager.brokers.dapr.subscription import Subscription
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.service.health import Check

OLD_S = 30.0  # an event that waits longer for the sidecar than this is worth a look


def service_checks(dapr: DaprBackend | None) -> list[Check]:
    """Look at the sidecar, the outbox and each subscription; nothing with the embedded broker."""
    if dapr is None:
        return []
    subscriptions = sorted(dapr.ingress.subscriptions.items())
    return [_sidecar(dapr), _outbox(dapr), *(_subscription(each) for _, each in subscriptions)]


def worker_checks(dapr: DaprBackend | None, keeper: Keeper) -> list[Check]:
    """Look at the subscriptions that a worker gets its events by."""
    return [_subscription(each) for each in _of(dapr, keeper)]


def why_idle(dapr: DaprBackend | None, keeper: Keeper) -> str:
    """Say why no event comes to a worker with nothing to do; empty where any could."""
    for each in _of(dapr, keeper):
        if not each.is_open:
            return f"its subscription of {each.topic!r} is {each.state.value}: {each.why}"
    return ""


def why_stuck(dapr: DaprBackend | None) -> str:
    """Say why the outbox, which a worker waits for, does not drain."""
    if dapr is None:
        return ""
    return dapr.sidecar.last_error or dapr.outbox.last_error


def _sidecar(dapr: DaprBackend) -> Check:
    sidecar = dapr.sidecar
    if not sidecar.is_up:
        return check("sidecar", "degraded", f"{sidecar.address.target}: {sidecar.last_error}")
    missing = dapr.missing_components()
    if missing:
        return check("sidecar", "degraded", f"it has no component {', '.join(missing)}")
    return check("sidecar", "ok", f"{sidecar.address.target}, app-id {sidecar.metadata.id}")


def _outbox(dapr: DaprBackend) -> Check:
    waiting, old_s = dapr.outbox.waiting, dapr.outbox.oldest_s()
    if not waiting or (old_s < OLD_S and not dapr.outbox.last_error):
        return check("outbox", "ok", f"{waiting} events wait", value=waiting)
    detail = f"{waiting} events wait, the oldest for {old_s:.0f} s; {why_stuck(dapr)}"
    return check("outbox", "degraded", detail.rstrip("; "), value=waiting)


def _subscription(each: Subscription) -> Check:
    name = f"subscription/{each.topic}"
    if each.session is None or not each.is_open:
        return check(name, "degraded", f"{each.state.value}: {each.why}", value=each.answered)
    silent_s = trio.current_time() - each.session.last_at
    return check(name, "ok", f"open, silent for {silent_s:.0f} s", value=each.answered)


def _of(dapr: DaprBackend | None, keeper: Keeper) -> list[Subscription]:
    if dapr is None:
        return []
    topics = dict.fromkeys(trigger.topic for trigger in keeper.record.spec.triggers)
    found = (dapr.ingress.subscriptions.get(topic) for topic in topics)
    return [each for each in found if each is not None]
