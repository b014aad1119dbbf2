"""The few Linux calls the standard library lacks, through ctypes."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # prctl(2)
_M_ARENA_MAX = -8  # mallopt(3)
_NAME_BYTES = 15  # TASK_COMM_LEN less its terminator

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


def die_with_parent() -> None:
    """Have the kernel kill this process when its present parent dies; arm it after reparenting.

    Source:
        prctl(2), PR_SET_PDEATHSIG: bound to the parent at the time, cleared by credential changes.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def set_process_name(name: str) -> None:
    """Show *name*, cut to 15 bytes, in ps and top."""
    comm = os.open("/proc/self/comm", os.O_WRONLY)
    os.write(comm, name.encode("utf-8", "replace")[:_NAME_BYTES])
    os.close(comm)


def use_one_malloc_arena() -> None:
    """Keep glibc from reserving 64 MiB of address space per thread; RLIMIT_AS counts them."""
    mallopt = getattr(_libc, "mallopt", None)  # musl has none, and needs none
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
