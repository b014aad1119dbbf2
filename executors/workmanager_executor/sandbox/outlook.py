"""The records of a chain that is about to run: what each layer will be if every call succeeds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Optional

from . import landlock, limits
from .records import ACTIVE, DEGRADED, OFF, UNAVAILABLE, Ledger

if TYPE_CHECKING:
    from .namespaces import Identity
    from .profile import Profile
    from .trees import Tree

NO_LANDLOCK = "needs kernel 5.13, CONFIG_SECURITY_LANDLOCK and landlock in the lsm= list"
SUBSTITUTES = {
    "rlimits": "nice +5 was refused",
    "proc": "only cpuinfo, meminfo and stat: the host's /proc is partly masked (a container?), so "
    "a private one is refused",
}


def note_all(
    ledger: Ledger, profile: Profile, *, identity: Identity, tree: Optional[Tree], abi: int
) -> None:
    """Write down every layer but memory.

    Raises:
        SandboxError: The profile requires a layer that will not be active.
    """
    ledger.note("fds", ACTIVE, "0-4 only")
    _note_scratch(ledger, profile)
    _note_rlimits(ledger, profile, identity)
    if tree is not None:
        _note_tree(ledger, profile, tree)
    if profile.level != "none":
        _note_privileges(ledger, profile, identity)
        _note_landlock(ledger, profile, abi)
        _note_network(ledger, profile)


def note_memory(ledger: Ledger, bounds: str) -> None:
    """Write down what bounds memory: rlimits at best, for a cgroup is the supervisor's to make."""
    ledger.note("memory", DEGRADED if bounds else OFF, bounds or "no rlimit")


def _note_rlimits(ledger: Ledger, profile: Profile, identity: Identity) -> None:
    has_own_count = profile.level == "full" or identity is not None
    missing = [] if has_own_count else ["no RLIMIT_NPROC, for the uid is shared"]
    if limits.can_set_oom_score():
        ledger.note("rlimits", ACTIVE, ", ".join(missing))
    else:
        ledger.note("rlimits", DEGRADED, ", ".join([*missing, "oom_score_adj is not writable"]))


def _note_scratch(ledger: Ledger, profile: Profile) -> None:
    if profile.has_namespaces:
        size = f"{profile.scratch_bytes} bytes, {profile.scratch_inodes} inodes"
        ledger.note("scratch", ACTIVE, f"tmpfs of {size}")
    elif profile.scratch_path:
        ledger.note("scratch", DEGRADED, f"{profile.scratch_path}, without a quota")
    else:
        ledger.note("scratch", OFF, "nothing is writable" if profile.level == "basic" else "")


def _note_tree(ledger: Ledger, profile: Profile, tree: Tree) -> None:
    user = "user, " if profile.level == "full" else ""
    network = ", network" if profile.has_own_network else ""
    ledger.note("namespaces", ACTIVE, f"{user}mount, pid, ipc, uts, cgroup{network}")
    ledger.note("root", ACTIVE, f"{len(tree.binds)} read-only binds")
    ledger.note("proc", ACTIVE, "private, read-only")


def _note_privileges(ledger: Ledger, profile: Profile, identity: Identity) -> None:
    if identity is None:
        ledger.note("uid", OFF, f"shares uid {os.geteuid()} with the supervisor")
    else:
        ledger.note("uid", ACTIVE, f"uid {identity[0]}, gid {identity[1]}")
    ledger.note("capabilities", ACTIVE, "none")
    ledger.note("no_new_privs", ACTIVE)
    ledger.note("seccomp", ACTIVE)
    if profile.subprocess_allowed:
        ledger.note("subprocess", OFF, "allowed by the profile")
    else:
        later = "denied; exec from the seal on" if profile.exec_comes_later else "denied"
        ledger.note("subprocess", ACTIVE, later)


def _note_landlock(ledger: Ledger, profile: Profile, abi: int) -> None:
    if abi == 0:
        ledger.note("landlock", UNAVAILABLE, NO_LANDLOCK)
    else:
        ledger.note("landlock", ACTIVE, landlock.describe(profile, abi))


def _note_network(ledger: Ledger, profile: Profile) -> None:
    if profile.network == "full":
        ledger.note("network", OFF, "the host's network, metadata addresses included")
    elif profile.network == "ports":
        ports = ", ".join(map(str, profile.ports)) or "none"
        ledger.note("network", ACTIVE, f"TCP connect to ports {ports} of any address")
    else:
        place = "an empty network" if profile.has_own_network else "the host's network"
        sockets = "loopback only" if profile.network == "loopback" else "no sockets"
        ledger.note("network", ACTIVE, f"{sockets}, in {place}")
