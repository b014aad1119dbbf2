"""Which limit an attempt ran into, from what is known of its error or of its executor's end.

A limit shows itself in two ways. Where the kernel refuses (an allocation, a fork, a write), user
code gets an error of its own language, which it may report; the words of that error are all there
is. Where the kernel or the supervisor kills, there is evidence from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workmanager.model.spec_process import Resources

OOM, PIDS, DISK, CPU, FILES = "oom", "pids", "disk", "cpu", "files"
LIMITS = (OOM, PIDS, DISK, CPU, FILES)
KILL_TYPES = {
    OOM: "OutOfMemory",
    PIDS: "TooManyProcesses",
    DISK: "DiskFull",
    CPU: "CpuTimeExceeded",
}
"""The error type of an attempt whose executor was killed at a limit."""

_TYPES = {
    "MemoryError": OOM,
    "OutOfMemoryException": OOM,
    "InsufficientMemoryException": OOM,
}
_WORDS = (  # of messages, by limit; errno numbers are those of Linux
    ("[Errno 12] Cannot allocate memory", OOM),
    ("[Errno 28] No space left on device", DISK),
    ("[Errno 122] Disk quota exceeded", DISK),
    ("[Errno 27] File too large", DISK),
    ("No space left on device", DISK),
    ("can't start new thread", PIDS),
    ("[Errno 11] Resource temporarily unavailable", PIDS),
    ("[Errno 24] Too many open files", FILES),
)
_SIGNALS = {"SIGXCPU": CPU, "SIGXFSZ": DISK}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the kernel counted while an executor lived, where it has a cgroup.

    Attributes:
        oom_kills: Processes killed for its memory.
        pids_refused: Forks refused.
        throttled_s: How long it was kept waiting by cpu.max.
    """

    oom_kills: int = 0
    pids_refused: int = 0
    throttled_s: float = 0.0


NO_EVIDENCE = Evidence()


def limit_of_error(error_type: str, message: str) -> str:
    """Return the limit that an error of user code speaks of; "" if it speaks of none."""
    known = _TYPES.get(error_type.rpartition(".")[2])
    if known is not None:
        return known
    return next((limit for words, limit in _WORDS if words in message), "")


def limit_of_end(signal_name: str, evidence: Evidence) -> str:
    """Return the limit at which the kernel ended an executor; "" if it was none."""
    if evidence.oom_kills:
        return OOM
    return _SIGNALS.get(signal_name, "")


def limit_of_timeout(throttled_s: float, limit_s: float) -> str:
    """Return `cpu` if an attempt that ran out of time was mostly kept waiting by its cpu limit."""
    return CPU if throttled_s > limit_s / 2 else ""


def words_of(limit: str, resources: Resources) -> str:
    """Say what *limit* is set to, for people: `limit oom: resources.memoryMax is 256 MiB`."""
    value = {
        OOM: f"resources.memoryMax is {_size(resources.memory_max_bytes)}",
        PIDS: f"resources.pidsMax is {resources.pids_max}",
        DISK: (
            f"resources.tmpSize is {_size(resources.tmp_size_bytes)}"
            f" and fileSizeMax {_size(resources.file_size_max_bytes)}"
        ),
        CPU: f"resources.cpuMax is {resources.cpu_max_cores:g}",
        FILES: f"resources.filesMax is {resources.files_max}",
    }[limit]
    return f"limit {limit}: {value}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:g} MiB"
