"""An executor's process and all that descends from it: signalled, killed, reaped as one.

What kills the whole tree depends on the sandbox: the cgroup, if there is one; the pid namespace,
whose first process the executor is at the levels full and uid; else its process group, and then the
strays (`strays.py`) that left it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from workmanager.policy.limits import NO_EVIDENCE, limit_of_end

if TYPE_CHECKING:
    from workmanager.executors.cgroups import Group

KIB = 1024


@dataclass(frozen=True, slots=True)
class Exit:
    """How an executor ended.

    Attributes:
        code: Exit code; None if a signal ended it.
        signal_name: Name of the signal; "" if it exited.
        asked: Why the supervisor ended it; "" if it did not.
        limit: Which limit ended it, see `policy.limits`; "" if none did.
        cpu_s: Processor time in all, with its children that were waited for.
        memory_peak_bytes: The most resident memory it had.
    """

    code: int | None
    signal_name: str
    asked: str
    limit: str = ""
    cpu_s: float = 0.0
    memory_peak_bytes: int = 0

    @property
    def words(self) -> str:
        """The exit in words for people."""
        if self.code is not None:
            how = f"exited with {self.code}"
        else:
            how = f"killed by {self.signal_name}" if self.signal_name else "does not die"
        why = self.asked or (f"limit {self.limit}" if self.limit else "")
        return f"{how} ({why})" if why else how


class Process:
    """One process, known by its pidfd, and what belongs to it.

    Args:
        pid: Ours to reap: a child, which keeps its number until then.
        pidfd: Owned and closed by this object.
        group: Its cgroup; None without.
    """

    def __init__(self, pid: int, pidfd: int, group: Group | None = None) -> None:
        self.pid = pid
        self.group = group
        self._pidfd = pidfd

    async def wait(self) -> None:
        """Wait until it has ended; it is not reaped yet."""
        await trio.lowlevel.wait_readable(self._pidfd)

    def has_ended(self) -> bool:
        """Tell whether it has ended; it is not reaped yet."""
        peek = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PIDFD, self._pidfd, peek) is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its process group; a stopped one is woken, to take notice."""
        self._signal(number)
        if number is not signal.SIGKILL:
            self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL it and everything that can be found of what it started."""
        if self.group is not None:
            self.group.kill()
        self._signal(signal.SIGKILL)

    def reap(self, asked: str, limit: str) -> Exit:
        """Collect its exit status after its end; what is left of its tree is killed before.

        Until it is reaped nobody else can have its number.
        """
        self.kill()
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self._pidfd)
        code = os.waitstatus_to_exitcode(status)
        name = _signal_name(-code) if code < 0 else ""
        evidence = self.group.evidence() if self.group is not None else NO_EVIDENCE
        return Exit(
            code=None if code < 0 else code,
            signal_name=name,
            asked=asked,
            limit=limit or limit_of_end(name, evidence),
            cpu_s=usage.ru_utime + usage.ru_stime,
            memory_peak_bytes=usage.ru_maxrss * KIB,
        )

    def abandon(self) -> None:
        """Give up waiting for it: it does not die (state D); the strays' sweep reaps it."""
        os.close(self._pidfd)

    def _signal(self, number: signal.Signals) -> None:
        for send in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(self.pid, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
