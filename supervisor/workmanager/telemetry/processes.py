"""What the kernel says of executor processes: processor time, memory, threads, descriptors.

Reading a process's proportional memory walks its page tables, about half a millisecond for each;
for many processes that is the work of a thread, not of the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import trio

if TYPE_CHECKING:
    from collections.abc import Iterable

_limiter = trio.CapacityLimiter(1)  # "processes": two would only wait for each other


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process uses; zeros for one that is gone."""

    cpu_s: float = 0.0
    memory_rss_bytes: int = 0
    memory_pss_bytes: int = 0
    threads: int = 0
    open_files: int = 0


GONE = Usage()


def usage_of(pid: int) -> Usage:
    """Look at one process."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            cpu = process.cpu_times()
            memory = process.memory_full_info()
            return Usage(
                cpu_s=round(cpu.user + cpu.system, 3),
                memory_rss_bytes=memory.rss,
                memory_pss_bytes=getattr(memory, "pss", 0),
                threads=process.num_threads(),
                open_files=process.num_fds(),
            )
    except (psutil.Error, OSError):  # files of a process may go one by one (psutil issue 2418)
        return GONE


async def usages_of(pids: Iterable[int]) -> dict[int, Usage]:
    """Look at many processes, in a thread."""
    wanted = list(pids)
    if not wanted:
        return {}
    return await trio.to_thread.run_sync(
        lambda: {pid: usage_of(pid) for pid in wanted}, limiter=_limiter, thread_name="processes"
    )
