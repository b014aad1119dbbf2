"""Strays: what an executor started, that left its process group and outlived it.

Without a pid namespace or a cgroup (levels none and basic on many hosts) a process that made a
session of its own survives the kill of its executor's group. When its parent has gone it becomes a
child of the supervisor, which is the subreaper; there is no other way for a process of another
session to become one, so whoever is found here, and is no executor or zygote, is a stray.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.executors.sampling import children

if TYPE_CHECKING:
    from collections.abc import Callable

AGAIN_S = 0.2  # while an executor is being born it cannot be told from a stray

log = structlog.get_logger()


class Strays:
    """Kills and reaps strays.

    Args:
        known: Returns the pids of executors and zygotes, which others reap.
        is_spawning: Tells whether an executor may exist that nobody knows by its pid yet.
    """

    def __init__(self, known: Callable[[], set[int]], is_spawning: Callable[[], bool]) -> None:
        self._known = known
        self._is_spawning = is_spawning
        self.killed = 0

    async def run(self) -> None:
        """Sweep whenever a child has ended, for as long as this is not cancelled."""
        with trio.open_signal_receiver(signal.SIGCHLD) as signals:
            async for _ in signals:
                while self._is_spawning():  # noqa: ASYNC110 - it is over in milliseconds
                    await trio.sleep(AGAIN_S)
                self.sweep()

    def sweep(self) -> None:
        """Kill and reap every stray; one that was killed tells by another SIGCHLD."""
        known = self._known()
        for pid in children(os.getpid()):
            if pid not in known and _is_of_another_session(pid) and not _reap(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self.killed += 1
                log.warning("stray_killed", pid=pid)


def _is_of_another_session(pid: int) -> bool:
    """Tell executors' offspring from processes that the service itself has started."""
    try:
        return os.getsid(pid) != os.getsid(0)
    except ProcessLookupError:
        return True  # a zombie's session may be gone


def _reap(pid: int) -> bool:
    """Reap *pid*; False if it has not ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
