"""The resource bill of attempts, from the kernel's counters of the executor's process.

Attempts of one executor run one after another, so what the process has used between two answers is
what the attempts answered in between have used: exact for one that was answered alone, which every
attempt over a millisecond is, and shared out by duration among brisk ones that were answered
together. Reading the processor time costs a microsecond per wake-up; memory and bytes cost fifty,
so only attempts that took long are asked for them. Where attempts run side by side nothing is said.

Of a worker that may start processes their processor time counts, too: of all of them where there is
a cgroup, else of those that were waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.executors import sampling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from workmanager.executors.cgroups import Group
    from workmanager.executors.process import Exit

LONG_US = 50_000
UNKNOWN = -1
DURATION = 2  # place in an outcome

Bill = tuple[int, int, int, int]  # us of processor time; most memory, bytes read, bytes written
NO_BILL: Bill = (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
_NO_DETAILS = NO_BILL[1:]


class Meter:
    """Meters one process.

    Args:
        has_children: It may start others.
        group: Its cgroup; None without.
    """

    def __init__(self, pid: int, *, has_children: bool = False, group: Group | None = None) -> None:
        self._pid = pid
        self._has_children = has_children
        self._group = group if has_children else None
        self._clock = sampling.cpu_clock(pid)
        self._cpu_ns = 0
        self._io: tuple[int, int] | None = None
        self._ratio = -1.0  # processor time per time, of what was answered last; below 0: unknown
        self._details = _NO_DETAILS
        self._end: Bill | None = None

    def start(self) -> None:
        """Begin: what the process has used so far was for its start."""
        self._cpu_ns = self._spent_ns()
        self._io = sampling.io_bytes(self._pid)
        sampling.forget_peak(self._pid)

    def note(self, outcomes: Sequence[Sequence[Any]], busy_us: int) -> None:
        """Take the reading for *outcomes*, which have just been answered; they took *busy_us*."""
        now_ns = self._spent_ns()
        if not now_ns:  # it has gone, and these were its last words
            self._ratio, self._details = -1.0, _NO_DETAILS
            return
        spent_ns, self._cpu_ns = now_ns - self._cpu_ns, now_ns
        self._ratio = spent_ns / 1000 / busy_us if busy_us else 0.0
        if busy_us >= LONG_US:
            longs = sum(outcome[DURATION] >= LONG_US for outcome in outcomes)
            details = self._look()
            self._details = details if longs == 1 else _NO_DETAILS

    def close(self, end: Exit) -> None:
        """The process has ended: what it used since its last answer is its last attempt's."""
        in_all_ns = self._group.cpu_ns() if self._group is not None else int(end.cpu_s * 1e9)
        cpu_us = (in_all_ns - self._cpu_ns) // 1000
        self._end = max(0, cpu_us), end.memory_peak_bytes, UNKNOWN, UNKNOWN

    def bill(self, duration_us: int) -> Bill:
        """Return the bill of an attempt that was answered just now, or that the end cut short."""
        if self._end is not None:
            return self._end
        if self._ratio < 0:
            return NO_BILL
        cpu_us = int(duration_us * self._ratio)
        return (cpu_us, *(self._details if duration_us >= LONG_US else _NO_DETAILS))

    def _spent_ns(self) -> int:
        if self._group is not None:
            return self._group.cpu_ns()
        own_ns = sampling.cpu_ns(self._clock)
        if own_ns and self._has_children:
            own_ns += sampling.children_cpu_ns(self._pid)
        return own_ns

    def _look(self) -> tuple[int, int, int]:
        peak = sampling.peak_bytes(self._pid) or UNKNOWN
        sampling.forget_peak(self._pid)
        before, self._io = self._io, sampling.io_bytes(self._pid)
        if before is None or self._io is None:
            return peak, UNKNOWN, UNKNOWN
        return peak, self._io[0] - before[0], self._io[1] - before[1]
