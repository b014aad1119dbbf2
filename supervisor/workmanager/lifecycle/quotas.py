"""Holding executors at level basic to their scratch quota: measured, and ended above it.

At the other levels the scratch is a file system of the right size, and nothing is measured. Here it
is a folder of the host's, so between two looks a worker can write more than it may: the record of
layer `scratch` says degraded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from workmanager.executors.isolation.profiles import scratch_inodes
from workmanager.policy.limits import DISK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.keeper import Keeper

PERIOD_S = 2.0
SCRATCH_EXIT = "it wrote more than resources.tmpSize"

_limiter = trio.CapacityLimiter(1)  # "quotas": a hostile tree takes long to walk


async def hold_quotas(keepers: Callable[[], Iterable[Keeper]]) -> None:
    """Measure the scratch folders of all executors that have one, every two seconds."""
    while True:
        await trio.sleep(PERIOD_S)
        for keeper in list(keepers()):
            for executor in list(keeper.executors.values()):
                if executor.room.level == "basic":
                    await _hold(keeper, executor)


async def _hold(keeper: Keeper, executor: Executor) -> None:
    allowed_bytes = keeper.record.spec.resources.tmp_size_bytes
    size_bytes = await trio.to_thread.run_sync(
        executor.room.scratch_bytes,
        executor.pid,
        scratch_inodes(allowed_bytes),
        limiter=_limiter,
        thread_name="quotas",
    )
    if size_bytes > allowed_bytes:
        executor.end(SCRATCH_EXIT, blame=True, limit=DISK)
