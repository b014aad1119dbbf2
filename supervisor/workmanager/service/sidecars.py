"""What the backend `dapr` tells of itself: health, and why a worker has nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from workmanager.service.health import check

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workmanager.brokers.dapr.backend import DaprBackend
    from workmanager.brokers.dapr.subscription import Subscription
    from workmanager.lifecycle.keeper import Keeper
    from workmanager.service.health import Check

KNOWN_S = 2.0  # how long a call waits for streams that open
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


def why_silent(keeper: Keeper) -> str:
    """Say on which of its topics no event can come to a worker, and why; "" where any can."""
    why_silent = keeper.core.broker.why_silent
    found = ((topic, why_silent(topic)) for topic in _topics(keeper))
    return "; ".join(f"topic {topic!r}: {why}" for topic, why in found if why)


async def until_known(dapr: DaprBackend | None, keeper: Keeper) -> None:
    """Wait for a worker's topics to be listened to, or for why they cannot be."""
    if dapr is not None:
        with trio.move_on_after(KNOWN_S):
            await dapr.ingress.until_known(_topics(keeper))


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
    found = (dapr.ingress.subscriptions.get(topic) for topic in _topics(keeper))
    return [each for each in found if each is not None]


def _topics(keeper: Keeper) -> Iterable[str]:
    return dict.fromkeys(trigger.topic for trigger in keeper.record.spec.triggers)
