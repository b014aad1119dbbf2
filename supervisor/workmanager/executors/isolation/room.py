"""What one executor has beside its process: a profile, a cgroup, a scratch folder.

Made before its birth, so that it is born into them, and cleared away after its end, when nothing of
it is left.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from workmanager.executors.cgroups import Group
    from workmanager.executors.isolation.scratch import Scratch
    from workmanager.model.spec_process import Resources

EMPTY_S = 1.0  # how long what was killed may take to disappear
LOOK_S = 0.01

_limiter = trio.CapacityLimiter(2)  # "scratch": what a hostile one leaves takes long to delete

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Room:
    """The surroundings of one executor.

    Attributes:
        level: Of its sandbox.
        profile: What the sandbox is told.
        group: Its cgroup; None where there is none to give.
    """

    executor: str
    level: str
    profile: Mapping[str, Any]
    group: Group | None
    scratch: Scratch

    @property
    def has_children(self) -> bool:
        """Whether it may start processes."""
        return bool(self.profile.get("subprocess") != "deny")  # level none forbids nothing

    @contextmanager
    def members(self) -> Iterator[Sequence[int]]:
        """Open what a new process has to write itself into, for the time of a spawn.

        Raises:
            OSError: The group has gone, or there are no descriptors left.
        """
        opened = [self.group.open_members()] if self.group is not None else []
        try:
            yield opened
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def scratch_bytes(self, pid: int, max_entries: int) -> int:
        """Return what it has on the disk at level basic; see `Scratch.size_bytes`."""
        return self.scratch.size_bytes(self.executor, pid, max_entries)

    def weigh(self, resources: Resources) -> None:
        """Give it the shares of processors and disks that *resources* says."""
        if self.group is not None:
            try:
                self.group.weigh(resources)
            except OSError as error:
                log.warning("cgroup_not_weighed", executor=self.executor, error=error.strerror)

    async def clear(self) -> None:
        """Give everything back; the executor has ended."""
        if self.group is not None:
            self.group.kill()
            with trio.move_on_after(EMPTY_S):
                while self.group.is_populated():  # noqa: ASYNC110 - the kernel tells by inotify only
                    await trio.sleep(LOOK_S)
            if self.group.is_populated():
                log.error("executor_unkillable", executor=self.executor, place="cgroup")
            self.group.remove()
        if self.level in ("basic", "none"):
            await trio.to_thread.run_sync(
                self.scratch.drop, self.executor, limiter=_limiter, thread_name="scratch"
            )
