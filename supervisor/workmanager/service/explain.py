"""`worker explain`: one sentence why a worker is or is not processing, and what to do about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import trio

from workmanager.model.resources import Explanation
from workmanager.model.states import WorkerState
from workmanager.policy.limits import LIMITS
from workmanager.service import sidecars
from workmanager.store.commit import OUTBOX

if TYPE_CHECKING:
    from workmanager.brokers.dapr.backend import DaprBackend
    from workmanager.dispatch.core import Core
    from workmanager.groups.local import HostLock
    from workmanager.lifecycle.keeper import Keeper


_LOCK_STEP = "`workmanager doctor --dapr` looks at the lock component; `scope: host` needs none"


def explain(core: Core, keeper: Keeper, dapr: DaprBackend | None = None) -> Explanation:
    """Find the first thing that holds the worker up, in the order in which they would."""
    summary, processing, next_step = _first(core, keeper, dapr)
    return Explanation(
        worker=keeper.record.name,
        summary=summary,
        processing=processing,
        facts=_facts(core, keeper),
        next_step=next_step,
    )


def _first(core: Core, keeper: Keeper, dapr: DaprBackend | None) -> tuple[str, bool, str]:
    name, state, dispatch = keeper.record.name, keeper.state, keeper.dispatch
    waiting = dispatch.backlog
    if core.ledger.error is not None:
        return f"the store refuses writes: {core.ledger.error}", False, "make room on the disk"
    if state is WorkerState.FAILED:
        step = f"mend it, then `workmanager worker start {name}` or apply a new version"
        again = ""
        if keeper.trial.due_at is not None:
            in_s = max(0.0, keeper.trial.due_at - trio.current_time())
            again = f"; one executor is tried in {in_s:.0f} s"
        return f"it was given up: {keeper.why}{again}", False, step
    if state is WorkerState.BACKOFF:
        in_s = max(0.0, (keeper.retry_at or 0.0) - trio.current_time())
        text = f"it waits {in_s:.1f} s before its next start, because {keeper.why}"
        return text, False, f"`workmanager worker logs {name}` shows what it wrote"
    if state is WorkerState.STOPPED:
        return f"it is stopped; {waiting} tasks wait", False, f"`workmanager worker start {name}`"
    if state is WorkerState.PAUSED:
        return f"it is paused; {waiting} tasks wait", False, f"`workmanager worker resume {name}`"
    if state is not WorkerState.RUNNING:
        return f"it is {state.value}", False, ""
    return _running(keeper, waiting, dapr)


def _running(keeper: Keeper, waiting: int, dapr: DaprBackend | None) -> tuple[str, bool, str]:
    dispatch = keeper.dispatch
    flying = sum(len(e.hand) for e in keeper.executors.values())
    if not waiting and not flying:
        if not keeper.record.spec.triggers:
            return "it is idle: it has no topic and is reached with :invoke", True, ""
        why = sidecars.why_silent(keeper)
        if why:
            return f"no event comes: {why}", False, "`workmanager doctor --dapr`"
        return "it is idle: no event waits", True, ""
    if dispatch.blocked_by:
        if any(w.no == OUTBOX for w in dispatch.blocked_by):
            text = f"it waits for the outbox, which is full: {sidecars.why_stuck(dapr)}"
            return text, False, "`workmanager doctor --dapr`"
        names = ", ".join(sorted(w.name for w in dispatch.blocked_by))
        return f"it waits for {names}, whose inbox is full", False, f"explain {names}"
    if dispatch.suspects:
        count = sum(len(tasks) for tasks in dispatch.suspects)
        return f"{count} tasks run by themselves, to find the one that kills or fails", True, ""
    if flying:
        return f"it is processing: {flying} in hand, {waiting} open", True, ""
    return _held(keeper, waiting)


def _held(keeper: Keeper, waiting: int) -> tuple[str, bool, str]:
    dispatch = keeper.dispatch
    ready, delayed = dispatch.inbox.ready(), dispatch.inbox.delayed()
    if dispatch.lock is not None and (ready or dispatch.lock.parked(dispatch)):
        return _group(dispatch.lock, waiting)
    if ready and dispatch.bucket is not None:
        return f"{waiting} tasks wait for the rate limit", False, "raise rateLimit.limit"
    if delayed and not ready:
        due = dispatch.inbox.next_due() or 0.0
        in_s = max(0.0, due - time.time())
        text = f"{delayed} tasks wait for their next try, the first in {in_s:.1f} s"
        step = "raise the limit, or use less" if ": limit " in dispatch.last_error else ""
        return f"{text}; last error: {dispatch.last_error}", False, step
    return f"{waiting} tasks wait, {ready} of them ready", True, ""


def _group(lock: HostLock, waiting: int) -> tuple[str, bool, str]:
    name = lock.name
    holders = sorted({turn.worker.name for turn in lock.all_turns()})
    if holders or lock.leases is None:
        who = ", ".join(holders) or "nobody"
        return f"{waiting} tasks wait for group {name!r}, held by {who}", False, ""
    if lock.leases.error:
        text = f"{waiting} tasks wait for group {name!r}, whose lock cannot be had:"
        return f"{text} {lock.leases.error}", False, _LOCK_STEP
    text = f"{waiting} tasks wait for group {name!r}, held by another host"
    return text, False, f"`workmanager group get {name} -o yaml` shows by which, and until when"


def _facts(core: Core, keeper: Keeper) -> dict[str, Any]:
    dispatch = keeper.dispatch
    return {
        "state": keeper.state.value,
        "desiredState": keeper.record.desired.value,
        "why": keeper.why,
        "backlog": dispatch.backlog,
        "ready": dispatch.inbox.ready(),
        "delayed": dispatch.inbox.delayed(),
        "suspects": sum(len(tasks) for tasks in dispatch.suspects),
        "inFlight": sum(len(e.hand) for e in keeper.executors.values()),
        "inboxLimit": dispatch.spec.inbox.max_count,
        "inboxFull": dispatch.is_full(),
        "executors": {e.id: e.state.value for e in keeper.executors.values()},
        "restarts": keeper.restarts,
        "limits": {limit: dispatch.counts[f"limit_{limit}"] for limit in LIMITS},
        "lastError": dispatch.last_error,
        "blockedBy": sorted(worker.name for worker in dispatch.blocked_by),
        "storeError": str(core.ledger.error) if core.ledger.error else "",
    }
