"""The profile of one executor: everything its sandbox is told, as the spawn request carries it.

All limits of an executor are in its profile; the sandbox turns them into rlimits, at every level.
Where a cgroup bounds memory as well, the address space is left free: CoreCLR and numpy reserve far
more than they use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.model.spec import WorkerSpec

STACK_BYTES = 8 * 2**20  # of a thread; all of it counts against RLIMIT_DATA
BYTES_PER_INODE = 32 * 2**10  # of the scratch: 2048 inodes for the default of 64 MiB
LEAST_INODES = 2048
LEAST_SCRATCH_BYTES = 4096  # a tmpfs of size 0 has no limit
DOTNET_ENGINES = frozenset({"text/x-csharp", "text/x-dll"})


def make(
    spec: WorkerSpec,
    *,
    level: str,
    uid: int | None,
    python: Sequence[str] = (),
    paths: Sequence[str] = (),
    scratch: str | None = None,
    memory_is_grouped: bool = False,
    required: Sequence[str] = (),
) -> dict[str, Any]:
    """Make the profile.

    Args:
        uid: To run under; None to keep the service's.
        python: Folders of another interpreter; it is executed inside.
        paths: What the engine has to read beside what the worker asks for.
        scratch: The writable folder of level basic.
        memory_is_grouped: A cgroup bounds memory.
        required: Layers without which the executor must not start.
    """
    profile: dict[str, Any] = {
        "level": level,
        "limits": limits(spec, memory_is_grouped=memory_is_grouped, is_uid_shared=level == "uid"),
        "engine": "dotnet" if spec.engine in DOTNET_ENGINES else "python",
        "required": list(required),
    }
    if level == "none":
        return profile
    isolation, resources = spec.isolation, spec.resources
    scratch_bytes = max(resources.tmp_size_bytes, LEAST_SCRATCH_BYTES)
    return {
        **profile,
        "network": isolation.network,
        "ports": list(isolation.ports),
        "subprocess": isolation.subprocess,
        "readPaths": [*paths, *isolation.read_paths],
        "python": list(python),
        "scratchBytes": scratch_bytes,
        "scratchInodes": scratch_inodes(scratch_bytes),
        "scratchPath": scratch,
        "uid": uid,
    }


def scratch_inodes(scratch_bytes: int) -> int:
    """Return how many files and folders a scratch of that size may hold."""
    return max(LEAST_INODES, scratch_bytes // BYTES_PER_INODE)


def limits(
    spec: WorkerSpec, *, memory_is_grouped: bool = False, is_uid_shared: bool = False
) -> dict[str, int]:
    """Return the limits by the names of the sandbox's profile.

    Args:
        memory_is_grouped: A cgroup bounds memory.
        is_uid_shared: The worker's executors have one uid together, and RLIMIT_NPROC counts by it:
            it has to let all of them live, and the one that takes another's place.
    """
    resources = spec.resources
    sharers = spec.concurrency.executors + 1 if is_uid_shared else 1
    threads = min(spec.concurrency.per_executor, resources.pids_max)
    found = {
        "memoryBytes": resources.memory_max_bytes + threads * STACK_BYTES,
        "files": resources.files_max,
        "processes": resources.pids_max * sharers,
        "fileSizeBytes": resources.file_size_max_bytes,
        "coreBytes": 0,
    }
    return {**found, "addressSpaceBytes": 0} if memory_is_grouped else found
