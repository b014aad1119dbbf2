"""Executors of versions that are not current, for redriven tasks that asked for one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from workmanager.errors import WorkManagerError

if TYPE_CHECKING:
    from workmanager.lifecycle.keeper import Keeper

log = structlog.get_logger()


class Sides:
    """The side versions of one keeper; an idle one is ended by the upkeep."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._wanted: set[str] = set()

    def want(self, version: str) -> None:
        """Ask for an executor of *version*; the keeper's next step starts it."""
        self._wanted.add(version)
        self._keeper.wake()

    async def serve(self) -> None:
        """Start an executor for each version that is asked for and has none."""
        keeper = self._keeper
        for version in list(self._wanted):
            self._wanted.discard(version)
            if any(executor.version == version for executor in keeper.dispatch.executors):
                continue
            if version not in keeper.record.versions or version == keeper.record.current:
                self.fold(version)
                continue
            try:
                keeper.serve([await keeper.launch(version)])
            except WorkManagerError as error:
                log.warning("side_version_refused", worker=keeper.record.name, error=str(error))
                self.fold(version)

    def fold(self, version: str) -> None:
        """Hand the tasks that asked for *version* to the current one."""
        dispatch = self._keeper.dispatch
        side = dispatch.sides.pop(version, None)
        if side is None:
            return
        tasks = [task for task in side.tasks() if task.number not in side.out]
        for task in tasks:
            task.asked_version = ""
        dispatch.inbox.add(tasks)
