"""What follows when an executor ends unasked or does not start: the restart policy, applied."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from workmanager.errors import CodeError, ConflictError, IsolationError, WorkManagerError
from workmanager.policy.restart import Action, End, after_end

if TYPE_CHECKING:
    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.keeper import Keeper

REFUSED_STARTS = 3  # code that is refused will be refused again: then an operator is needed


def note_exit(keeper: Keeper, executor: Executor, how: str) -> None:
    """Decide when the place of a serving executor that has ended is filled."""
    if not executor.is_to_blame:
        return  # the supervisor ended it (time-out, cancel): its place is filled at once
    keeper.restarts += 1
    end = End(
        at=trio.current_time(),
        uptime_s=time.time() - executor.started_at,
        is_clean=executor.exit is not None and executor.exit.code == 0,
        is_charged=executor.on_trial or executor.was_charged,
    )
    _decide(keeper, end, f"an executor {how}")


def note_failed_start(keeper: Keeper, error: WorkManagerError) -> None:
    """Decide when a start that failed is tried again, if ever."""
    if isinstance(error, ConflictError):
        return  # called off by a stop
    keeper.dispatch.last_error = str(error)[:500]
    keeper.core.note(keeper.dispatch, None, "supervisor", "ERROR", "", f"start failed: {error}")
    if isinstance(error, IsolationError):  # the host would have to change
        keeper.give_up(str(error))
        return
    _decide(keeper, End(at=trio.current_time(), uptime_s=0.0), str(error))
    if isinstance(error, CodeError) and keeper.restart.failures >= REFUSED_STARTS:
        keeper.trial.clear()
        keeper.give_up(str(error))


def _decide(keeper: Keeper, end: End, why: str) -> None:
    policy = keeper.record.spec.restart
    keeper.restart, decision = after_end(keeper.restart, end, policy, keeper.core.rng)
    if keeper.trial.is_on:
        keeper.give_up(f"{why} when it was tried again after a crash loop")
        keeper.trial.schedule()
    elif decision.action is Action.FAIL:
        keeper.give_up(f"{why}; {decision.reason}")
        if policy.policy != "never":
            keeper.trial.schedule()
    elif decision.action is Action.REST:
        keeper.give_up(decision.reason)
    else:
        keeper.back_off(decision.delay_s, why)
