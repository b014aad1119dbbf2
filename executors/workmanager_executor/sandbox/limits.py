"""Resource limits: rlimits, nice and the OOM score.

Without a memory cgroup the honest bound is RLIMIT_AS: RLIMIT_DATA alone misses shared mappings.
NPROC counts per (user namespace, uid), so it is only set where one of the two is the executor's.
"""

from __future__ import annotations

import os
import resource
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .steps import Step, writing

_MIB = 1 << 20
_GIB = 1 << 30
_NICE = 5
_OOM_SCORE_FILE = "/proc/self/oom_score_adj"
_OOM_SCORE = b"800"
_PENDING_SIGNALS = 256  # and timers; of the whole uid, but each compares it with a limit of its own
_NO_CORE = 1  # not 0: that lets a crash start the program which core_pattern pipes to, core(5)
_NOTHING_OF = (
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_MSGQUEUE,
    resource.RLIMIT_NICE,
    resource.RLIMIT_RTPRIO,
)

Bound = Tuple[int, int]  # RLIMIT_ number, value


class _Engine(NamedTuple):
    files: int
    processes: int
    address_space_floor_bytes: int
    data_headroom_bytes: int


_ENGINES = {
    # 96 files: a uid has 128 inotify instances, and each costs a descriptor. 2 GiB: numpy with 32
    # threads reserves 1.24 GiB of address space (64 MiB for each malloc arena).
    "python": _Engine(96, 64, 2 * _GIB, 0),
    # CoreCLR reserves what RLIMIT_AS leaves and needs 128 MiB of data before it runs anything.
    "dotnet": _Engine(256, 128, 8 * _GIB, 512 * _MIB),
}


def bounds_for(
    limits: Mapping[str, Optional[int]], *, engine: str = "python", own_processes: bool = False
) -> Tuple[Bound, ...]:
    """Work out every rlimit.

    Args:
        limits: `memoryBytes, addressSpaceBytes, files, processes, fileSizeBytes, cpuSeconds,
            coreBytes`; a missing or None one gets the engine's default. addressSpaceBytes 0 means
            that a memory cgroup bounds the executor, so that address space may be reserved freely.
        own_processes: The uid, or the user namespace, is the executor's own.
    """
    defaults = _ENGINES[engine]
    found = [(number, 0) for number in _NOTHING_OF]
    found.append((resource.RLIMIT_CORE, limits.get("coreBytes") or _NO_CORE))
    found.append((resource.RLIMIT_SIGPENDING, _PENDING_SIGNALS))
    found.append((resource.RLIMIT_NOFILE, _pick(limits, "files", defaults.files)))
    found.append((resource.RLIMIT_FSIZE, _pick(limits, "fileSizeBytes", 64 * _MIB)))
    cpu_s = limits.get("cpuSeconds")
    if cpu_s is not None:
        found.append((resource.RLIMIT_CPU, cpu_s))
    if own_processes:
        found.append((resource.RLIMIT_NPROC, _pick(limits, "processes", defaults.processes)))
    return (*found, *_memory_bounds(limits, defaults))


def steps(bounds: Sequence[Bound]) -> List[Step]:
    """The calls that set *bounds*, soft and hard; a hard limit that is lower already stays."""
    found = []
    for number, value in bounds:
        hard = resource.getrlimit(number)[1]
        kept = value if hard == resource.RLIM_INFINITY else min(value, hard)
        arguments = (number, (kept, kept))
        found.append(Step("rlimits", f"setrlimit {arguments}", resource.setrlimit, arguments, None))
    return found


def describe_memory(bounds: Sequence[Bound]) -> str:
    """What of *bounds* bounds memory, for the record; "" if nothing does."""
    names = {resource.RLIMIT_DATA: "RLIMIT_DATA", resource.RLIMIT_AS: "RLIMIT_AS"}
    return ", ".join(f"{names[number]} {value}" for number, value in bounds if number in names)


def courtesy_steps() -> List[Step]:
    """Let the kernel prefer others: nice +5, and first choice when memory runs out.

    They come before the executor has its own /proc, which is read-only.
    """
    nice = os.getpriority(os.PRIO_PROCESS, 0) + _NICE
    arguments = (os.PRIO_PROCESS, 0, nice)
    found = [Step("rlimits", f"nice {nice}", os.setpriority, arguments, None, ())]
    if can_set_oom_score():
        found += writing("rlimits", _OOM_SCORE_FILE, _OOM_SCORE)
    return found


def can_set_oom_score() -> bool:
    """Whether there is a /proc to write to; some containers show it read-only."""
    return os.access(_OOM_SCORE_FILE, os.W_OK)


def _memory_bounds(limits: Mapping[str, Optional[int]], defaults: _Engine) -> List[Bound]:
    memory_bytes = limits.get("memoryBytes")
    space_bytes = limits.get("addressSpaceBytes")
    found = []
    if memory_bytes is not None:
        found.append((resource.RLIMIT_DATA, memory_bytes + defaults.data_headroom_bytes))
        if space_bytes is None:
            space_bytes = max(defaults.address_space_floor_bytes, memory_bytes + _GIB)
    if space_bytes:
        found.append((resource.RLIMIT_AS, space_bytes))
    return found


def _pick(limits: Mapping[str, Optional[int]], name: str, default: int) -> int:
    value = limits.get(name)
    return default if value is None else value
