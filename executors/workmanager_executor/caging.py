"""The sandbox's three steps, in the three processes of a birth.

zygote: keep_ready(), map_ids_of()    intermediate: separate()    executor: settle()
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workmanager_executor import sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Dict

    from workmanager_executor.sandbox.namespaces import MapIds
    from workmanager_executor.spawning import SpawnRequest

    Profile = Dict[str, object]


@dataclass(frozen=True)
class Cage:
    """A sandbox that the next child of this process is born into.

    Attributes:
        departure_fd: Tells the child that its parent has gone; has to reach it as `CAGE_FD`.
    """

    prepared: sandbox.Prepared
    departure_fd: int


class CageError(Exception):
    """The sandbox cannot be had on this host, or the kernel refused a part of it."""


def profile_of(request: SpawnRequest) -> Profile:
    """Return the profile with what the executor itself has to read; empty for no sandbox."""
    profile = dict(request.sandbox)
    if profile and request.python is not None:  # it may have to load our msgpack, see __main__
        paths = profile.get("readPaths")
        given = list(paths) if isinstance(paths, list) else []
        profile["readPaths"] = [*given, os.path.join(msgpack_folder(), "msgpack")]
    return profile


def keep_ready(profile: Mapping[str, object]) -> None:
    """Prepare *profile* in the zygote, so that the next executor with it need not."""
    try:
        sandbox.prepare(profile)
    except Exception:  # noqa: BLE001 - whoever asks for it next is told
        return


def map_ids_of(pid: int, identity: tuple[int, int]) -> bool:
    """Map the ids of the user namespace that *pid* has made; False if the kernel refuses."""
    try:
        sandbox.map_two_ids(pid, identity)
    except OSError:
        return False
    return True


def separate(profile: Profile, cgroup_fds: Sequence[int], map_ids: MapIds) -> Cage | None:
    """Join the cgroups and leave the host's namespaces; None if there is to be no sandbox.

    Args:
        map_ids: Has the zygote map a new user namespace's ids; False if it could not.

    Raises:
        CageError: The profile makes no sense, or the kernel refuses.
    """
    try:
        if profile:
            prepared = sandbox.prepare(profile)
            return Cage(prepared, sandbox.separate(prepared, cgroup_fds, map_ids))
        for descriptor in cgroup_fds:
            os.write(descriptor, b"0")
    except (OSError, sandbox.SandboxError) as error:
        raise CageError(str(error)) from error
    return None


def settle(cage: Cage, departure_fd: int) -> list[object]:
    """Apply the rest in the executor; return one record per layer.

    Raises:
        CageError: The kernel refuses a part; the process has to end.
    """
    try:
        return list(sandbox.settle(cage.prepared, departure_fd))
    except sandbox.SandboxError as error:
        raise CageError(str(error)) from error


def needs_seal(profile: Mapping[str, object]) -> bool:
    """Tell whether execve was left open for the interpreter that is to come."""
    is_filtered = bool(profile) and profile.get("level") != "none"
    return is_filtered and profile.get("subprocess") != "allow"


def msgpack_folder() -> str:
    """Return the folder that the zygote was given."""
    return sys.argv[-1]
