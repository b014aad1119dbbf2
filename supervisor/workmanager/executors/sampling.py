"""What the kernel says of a running executor: memory, processor time, bytes read and written.

Read from outside, so that nothing depends on the word of user code. Each function costs some
microseconds and answers 0 for a process that has gone.

Source: proc(5): pid/stat, pid/statm, pid/status, pid/io, task/tid/children; clock_getcpuclockid(3).
"""

from __future__ import annotations

import os
import time

FILES_BYTES = 32 * 2**20  # an interpreter's libraries; only beyond it shared memory is looked for
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2  # of a whole process, in nanoseconds: include/linux/posix-timers_types.h
_MEMORY = (b"RssAnon:", b"RssShmem:", b"VmSwap:")
_STATUS_BYTES = 8192
_IO = (b"rchar:", b"wchar:")


def memory_bytes(pid: int, *, with_tree: bool = False) -> int:
    """Return what *pid* keeps in memory for itself: private, shared-anonymous, and swapped.

    Files that are mapped do not count, the kernel can drop those. Pages that a fork still shares
    with the zygote do, some 10 MiB. Shared-anonymous memory and swap show up once the process
    shares more than `FILES_BYTES`: finding them costs ten times as much.

    Args:
        with_tree: Add all that descend from it.
    """
    fields = _read(f"/proc/{pid}/statm").split()  # size, resident, shared, in pages
    resident, shared = (int(fields[1]), int(fields[2])) if len(fields) > 2 else (0, 0)
    total = (resident - shared) * PAGE_BYTES
    if shared * PAGE_BYTES > FILES_BYTES:
        total = sum(_fields(f"/proc/{pid}/status", _MEMORY).values()) * 1024
    if with_tree:
        total += sum(memory_bytes(child, with_tree=True) for child in children(pid))
    return total


def peak_bytes(pid: int) -> int:
    """Return the most resident memory that *pid* had since its start, or `forget_peak`."""
    return _fields(f"/proc/{pid}/status", (b"VmHWM:",)).get(b"VmHWM:", 0) * 1024


def forget_peak(pid: int) -> None:
    """Let `peak_bytes` begin anew at what is resident now (proc(5), clear_refs: 5)."""
    try:
        target = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(target, b"5")
    except OSError:
        return
    finally:
        os.close(target)


def io_bytes(pid: int) -> tuple[int, int] | None:
    """Return the bytes that *pid* has read and written: files, pipes and its channels.

    None where the kernel does not tell, or the process has gone.
    """
    found = _fields(f"/proc/{pid}/io", _IO)
    return (found[b"rchar:"], found[b"wchar:"]) if len(found) == len(_IO) else None


def cpu_clock(pid: int) -> int:
    """Return the id of the clock that counts the processor time of *pid*, for `cpu_ns`."""
    return (~pid << 3) | _CPUCLOCK_SCHED


def cpu_ns(clock: int) -> int:
    """Return the processor time that a process has used, all of its threads together."""
    try:
        return time.clock_gettime_ns(clock)
    except OSError:
        return 0


def children_cpu_ns(pid: int) -> int:
    """Return the processor time of the children that *pid* has waited for, and of theirs."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()  # from the third, state, on
    return (int(fields[13]) + int(fields[14])) * _TICK_NS if len(fields) > 14 else 0


def children(pid: int) -> list[int]:
    """Return the pids of the processes that *pid* has started and not reaped."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - names are enough
    except OSError:
        return found
    for thread in threads:
        found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _fields(path: str, names: tuple[bytes, ...]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for line in _read(path).splitlines():
        name, _, rest = line.partition(b"\t" if b"\t" in line else b" ")
        if name in names:
            found[name] = int(rest.split()[0])
    return found


def _read(path: str) -> bytes:
    try:
        source = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(source, _STATUS_BYTES)
    except OSError:  # it ends at this moment
        return b""
    finally:
        os.close(source)
