"""A worker that was given up gets another chance: half open, with one executor, after a while.

    FAILED --halfOpenAfter--> one executor --it holds out--> all of them
                                           --it ends-------> FAILED, and so on

Only a crash loop is tried again: what refused it may have been a broken neighbour, a full disk, a
service that was down. Code that was refused, and a sandbox that cannot be had, wait for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.policy.restart import RestartState, hold_out_s

if TYPE_CHECKING:
    from workmanager.dispatch.timers import Timer
    from workmanager.executors.executor import Executor
    from workmanager.lifecycle.keeper import Keeper

log = structlog.get_logger()


class Trial:
    """The trial of one keeper.

    Attributes:
        is_on: One executor is being tried.
        due_at: When that begins, on trio's clock; None if it will not.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._timer: Timer | None = None
        self.is_on = False
        self.due_at: float | None = None

    def schedule(self) -> None:
        """Try again after `restart.halfOpenAfter`; the worker has been given up."""
        self.clear()
        delay_s = self._keeper.record.spec.restart.half_open_after_s
        if delay_s:
            self.due_at = trio.current_time() + delay_s
            self._timer = self._keeper.core.timers.after(delay_s, self._keeper.wake)

    def begin(self) -> bool:
        """Begin if it is time; False if it is not."""
        if self.due_at is None or trio.current_time() < self.due_at:
            return False
        self.clear()
        self.is_on = True
        log.info("worker_half_open", worker=self._keeper.record.name)
        return True

    def watch(self, executor: Executor) -> None:
        """Close the trial once *executor* has held out."""
        delay_s = hold_out_s(self._keeper.record.spec.restart)
        self._timer = self._keeper.core.timers.after(delay_s, lambda: self._pass(executor))

    def clear(self) -> None:
        """Forget it: somebody has asked for the worker, or it has ended."""
        self.is_on, self.due_at = False, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self, executor: Executor) -> None:
        if self.is_on and executor in self._keeper.dispatch.executors:
            self.clear()
            self._keeper.restart = RestartState()
            self._keeper.wake()
