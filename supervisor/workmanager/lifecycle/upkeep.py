"""Looking after executors that run: pings, memory, age, task counts, and side versions that idle.

One loop looks at all of them. A look at an executor that has nothing to do is rare: a thousand idle
workers must not keep a processor awake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from workmanager.executors.sampling import memory_bytes
from workmanager.model.states import ExecutorState
from workmanager.policy.limits import OOM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.keeper import Keeper

TICK_S = 1.0
IDLE_TICKS = 10  # an idle executor is looked at every so many ticks
OOM_EXIT = "it used more memory than resources.memoryMax"


async def look_after(keepers: Callable[[], Iterable[Keeper]]) -> None:
    """Look at every executor once a tick, at idle ones once in ten."""
    tick = 0
    while True:
        await trio.sleep(TICK_S)
        tick += 1
        for keeper in list(keepers()):
            for executor in list(keeper.executors.values()):
                if executor.is_busy() or tick % IDLE_TICKS == 0:
                    look_at(keeper, executor)
            if len(keeper.dispatch.executors) != len(keeper.executors) or keeper.dispatch.sides:
                _end_idle_sides(keeper)


def look_at(keeper: Keeper, executor: Executor) -> None:
    """Ping it, and end or replace it if it is deaf, too large, too old or has done its share."""
    if executor.state not in (ExecutorState.READY, ExecutorState.DRAINING):
        return
    now = trio.current_time()
    spec = keeper.record.spec
    if executor.is_stalled(now):
        executor.protocol_error("it began a frame and does not go on with it")
        return
    _ping(keeper, executor, now)
    has_children = spec.isolation.subprocess == "allow"
    executor.memory_bytes = memory_bytes(executor.pid, with_tree=has_children)
    if executor.memory_bytes > spec.resources.memory_max_bytes:
        executor.end(OOM_EXIT, blame=True, limit=OOM)
        return

    recycle = spec.recycle
    old = recycle.max_age_s and now - executor.ready_at > recycle.max_age_s
    large = recycle.max_memory_bytes and executor.memory_bytes > recycle.max_memory_bytes
    if old or large:
        keeper.recycle(executor, "recycle.maxAge" if old else "recycle.maxMemory")


def _ping(keeper: Keeper, executor: Executor, now: float) -> None:
    liveness = keeper.record.spec.probes.liveness
    if not liveness.period_s or now - executor.pinged_at < liveness.period_s:
        return
    silent_s = now - executor.last_pong_at
    asked_s = now - executor.first_unanswered_at if executor.first_unanswered_at else 0.0
    if asked_s > liveness.period_s * (liveness.failures - 1) + liveness.timeout_s:
        executor.end(f"it answered no ping for {silent_s:.0f} s", blame=True)
        return
    executor.ping(now)


def _end_idle_sides(keeper: Keeper) -> None:
    dispatch = keeper.dispatch
    for executor in list(dispatch.executors):
        if executor.version == dispatch.version or executor.hand:
            continue
        side = dispatch.sides.get(executor.version)
        if side is None or not side.count:
            dispatch.sides.pop(executor.version, None)
            dispatch.executors.remove(executor)
            keeper.retire(executor)
