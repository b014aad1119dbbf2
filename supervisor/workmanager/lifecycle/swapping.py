"""Hot swap: fresh executors start beside the serving ones, then take their place at one instant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.dispatch.handout import pump
from workmanager.model.states import DesiredState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.keeper import Keeper

SWAP_HOLD_S = 0.25  # how long a new version waits for the old one's attempts, without ordering

log = structlog.get_logger()


async def swap(keeper: Keeper, version: str, commit: Callable[[], Awaitable[None]]) -> None:
    """Replace the running version by *version*: start it beside, then flip at one instant.

    Args:
        commit: Makes the new version durable as the current one; called when it is ready. If
            it raises, the old version goes on and the new executors are ended.

    Raises:
        CodeError, StartError: The new version cannot run; nothing has changed.
    """
    async with keeper.step:
        wanted = 1
        if keeper.record.desired is not DesiredState.STOPPED:
            wanted = keeper.record.version_spec(version).concurrency.executors
        fresh = await _launch_all(keeper, version, wanted)
        try:
            await commit()
        except BaseException:
            for executor in fresh:
                executor.end("its version was not taken on")
            raise
        old = _flip(keeper, version, fresh)
        if keeper.record.desired is DesiredState.STOPPED:
            old += fresh
        for executor in old:
            keeper.retire(executor)
    keeper.retry_at = None
    keeper.wake()


async def replace(keeper: Keeper, why: str) -> None:
    """Replace every serving executor by a fresh one of the same version (restart, recycle)."""
    async with keeper.step:
        serving = keeper.current()
        if not serving:
            return
        fresh = await _launch_all(keeper, keeper.record.current, len(serving))
        for executor in _flip(keeper, keeper.record.current, fresh):
            log.info("executor_replaced", worker=keeper.record.name, executor=executor.id, why=why)
            keeper.retire(executor)
    keeper.wake()


async def _launch_all(keeper: Keeper, version: str, wanted: int) -> list[Executor]:
    fresh: list[Executor] = []
    try:
        for _ in range(wanted):
            fresh.append(await keeper.launch(version))  # noqa: PERF401 - ended on failure
    except BaseException:
        for executor in fresh:
            executor.end("another executor of its version failed to start")
        raise
    return fresh


def _flip(keeper: Keeper, version: str, fresh: list[Executor]) -> list[Executor]:
    """Make *fresh* the serving executors, at one instant; returns those that served before."""
    old = keeper.current()
    busy = any(executor.hand for executor in old)
    keeper.dispatch.executors = [e for e in keeper.dispatch.executors if e not in old]
    keeper.dispatch.version = version
    keeper.sides.fold(version)
    # What the old version has in hand ends before the new one begins, if it ends soon: then
    # no result of the old one comes after a result of the new one.
    if busy:
        keeper.dispatch.hold_until = trio.current_time() + SWAP_HOLD_S
    keeper.serve(fresh)
    pump(keeper.core, keeper.dispatch)
    return old
