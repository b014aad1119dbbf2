"""The health of one worker and of one executor: what an operations script acts on.

A record per part: `{name, status, detail}`, and `value` with `limit` where a number tells. The
worst part is the status of the whole. A worker that is stopped because it was asked to is healthy.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import trio

from workmanager.errors import NotFoundError
from workmanager.model.resources import Health
from workmanager.model.states import DesiredState, ExecutorState, WorkerState
from workmanager.service import cages
from workmanager.telemetry.processes import usage_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.keeper import Keeper

    Status = Literal["ok", "degraded", "failed"]
    Check = dict[str, Any]

NEARLY = 0.9  # of a limit, from which on an operator should look

_ARRIVED = {
    DesiredState.RUNNING: WorkerState.RUNNING,
    DesiredState.PAUSED: WorkerState.PAUSED,
    DesiredState.STOPPED: WorkerState.STOPPED,
}
_LOST = frozenset({ExecutorState.STOPPING, ExecutorState.EXITED, ExecutorState.UNKILLABLE})


def check(name: str, status: Status, detail: str = "", **numbers: float) -> Check:
    """Make the record of one part."""
    return {"name": name, "status": status, "detail": detail, **numbers}


def worst(checks: Iterable[Check]) -> Status:
    """Return the status of the whole."""
    found = {each["status"] for each in checks}
    return "failed" if "failed" in found else "degraded" if "degraded" in found else "ok"


def worker_health(keeper: Keeper, *, store_error: str, more: Sequence[Check] = ()) -> Health:
    """Look at one worker: its state, its executors, its inbox, the store it needs, and *more*."""
    checks = [_state(keeper), _executors(keeper), _inbox(keeper), _liveness(keeper), *more]
    if store_error:
        checks.append(check("store", "failed", store_error))
    return Health(
        status=worst(checks),
        version=keeper.record.current,
        uptime_s=round(time.time() - keeper.since, 3),
        checks=checks,
    )


def executor_health(keeper: Keeper, executor: Executor) -> Health:
    """Look at one executor: its state, its answers to pings, its memory."""
    state = executor.state
    status: Status = "ok"
    if state is not ExecutorState.READY:
        status = "failed" if state in _LOST else "degraded"
    checks = [
        check("state", status, state.value),
        _pings(keeper, executor),
        _memory(keeper, executor),
        cages.executor_check(executor),
    ]
    return Health(
        status=worst(checks),
        version=executor.version,
        uptime_s=round(time.time() - executor.started_at, 3),
        checks=checks,
    )


def find_executor(keepers: Iterable[Keeper], executor_id: str) -> tuple[Keeper, Executor]:
    """Return a living executor and whom it serves.

    Raises:
        NotFoundError: There is none of this id; it may have been replaced.
    """
    for keeper in keepers:
        found = keeper.executors.get(executor_id)
        if found is not None:
            return keeper, found
    raise NotFoundError(
        f"there is no executor {executor_id[:80]!r}; `workmanager executor list` shows those alive"
    )


def _state(keeper: Keeper) -> Check:
    state, desired = keeper.state, keeper.record.desired
    if state in (WorkerState.FAILED, WorkerState.DELETING):
        return check("state", "failed", f"{state.value} {keeper.why}".strip())
    if state is _ARRIVED[desired]:
        return check("state", "ok", state.value)
    detail = f"{state.value}, asked for {desired.value}; {keeper.why}".rstrip("; ")
    return check("state", "degraded", detail)


def _executors(keeper: Keeper) -> Check:
    wanted = keeper.record.spec.concurrency.executors
    if keeper.record.desired is DesiredState.STOPPED:
        wanted = 0
    ready = len(keeper.dispatch.ready_executors())
    status: Status = "ok" if ready >= wanted else "degraded" if ready else "failed"
    return check("executors", status, f"{ready} of {wanted} ready", value=ready, limit=wanted)


def _inbox(keeper: Keeper) -> Check:
    dispatch = keeper.dispatch
    limit = dispatch.spec.inbox.max_count
    waiting = dispatch.backlog
    if dispatch.is_full():
        return check("inbox", "degraded", f"full: {waiting} wait", value=waiting, limit=limit)
    status: Status = "degraded" if waiting >= NEARLY * limit else "ok"
    return check("inbox", status, f"{waiting} wait", value=waiting, limit=limit)


def _liveness(keeper: Keeper) -> Check:
    deaf = [e.id for e in keeper.executors.values() if _pings(keeper, e)["status"] != "ok"]
    if deaf:
        return check("liveness", "degraded", f"answer no ping: {', '.join(sorted(deaf))}")
    return check("liveness", "ok")


def _pings(keeper: Keeper, executor: Executor) -> Check:
    """A ping that waits longer than its time-out shows a process that hangs."""
    waits_s = 0.0
    if executor.first_unanswered_at:
        waits_s = trio.current_time() - executor.first_unanswered_at
    limit_s = keeper.record.spec.probes.liveness.timeout_s
    if waits_s <= limit_s:
        return check("ping", "ok", value=round(waits_s, 3), limit=limit_s)
    detail = f"no answer for {waits_s:.1f} s"
    return check("ping", "degraded", detail, value=round(waits_s, 3), limit=limit_s)


def _memory(keeper: Keeper, executor: Executor) -> Check:
    used = executor.memory_bytes or usage_of(executor.inner_pid).memory_pss_bytes
    limit = keeper.record.spec.resources.memory_max_bytes
    status: Status = "degraded" if used >= NEARLY * limit else "ok"
    return check("memory", status, f"{used} of {limit} bytes", value=used, limit=limit)
