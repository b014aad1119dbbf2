"""How an executor is ended: drain, SIGTERM, grace, SIGKILL of the whole tree, and a last look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.executors.executor import VERIFY_S
from workmanager.model.states import ExecutorState

if TYPE_CHECKING:
    from workmanager.executors.executor import Executor
    from workmanager.model.spec import Drain


log = structlog.get_logger()


async def retire(executor: Executor, drain: Drain) -> None:
    """End *executor*: what it has in hand may finish within the grace period.

    Cancelling the caller kills at once. What it could not finish goes back at no cost.
    """
    try:
        executor.drain()
        with trio.move_on_after(drain.grace_period_s):
            await executor.gone.wait()
            return
        for no in list(executor.hand):
            executor.cancel(no)
        executor.terminate("its grace period was over")
        with trio.move_on_after(drain.kill_after_s):
            await executor.gone.wait()
            return
    finally:
        if executor.exit is None:
            with trio.CancelScope(shield=True):
                await kill(executor)


async def kill(executor: Executor, why: str = "it did not end when asked") -> None:
    """SIGKILL the executor's tree; one that does not go is reported as UNKILLABLE."""
    executor.end(why)
    with trio.move_on_after(VERIFY_S):
        await executor.gone.wait()
        return
    executor.state = ExecutorState.UNKILLABLE
    log.error("executor_unkillable", worker=executor.worker, executor=executor.id, pid=executor.pid)
