"""Capabilities, user ids and no_new_privs: nothing to inherit, nothing to gain.

Root with CAP_PERFMON reads /proc/<ppid>/environ through Landlock, so not one capability may stay.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, List

from . import syscalls
from .steps import Step

if TYPE_CHECKING:
    from .namespaces import Identity

_SECUREBITS = 0b11101111  # NOROOT, NO_SETUID_FIXUP, KEEP_CAPS off, NO_CAP_AMBIENT_RAISE; locked
_CAP_SETPCAP = 8
_LAYER = "capabilities"


def steps(identity: Identity, *, bounding: bool) -> List[Step]:
    """Become *identity*, empty every set, and stay readable for oneself and the supervisor.

    The bounding set goes first: the change of uid takes the capability that dropping it needs.
    """
    found = [
        syscalls.prctl_step(_LAYER, syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    ]
    if bounding:
        every = range(syscalls.newest_capability() + 1)
        found += [syscalls.prctl_step(_LAYER, syscalls.PR_CAPBSET_DROP, each) for each in every]
        found.append(syscalls.prctl_step(_LAYER, syscalls.PR_SET_SECUREBITS, _SECUREBITS))
    if identity is not None:
        found += _identity_steps(*identity)
    found.append(syscalls.capset_step(_LAYER))
    # The change of uid closes /proc/self, and CoreCLR dies without it.
    return [*found, syscalls.prctl_step(_LAYER, syscalls.PR_SET_DUMPABLE, 1)]


def no_new_privs_step() -> Step:
    """No set-uid program, no file capability helps from here on."""
    return syscalls.prctl_step("no_new_privs", syscalls.PR_SET_NO_NEW_PRIVS, 1)


def can_drop_bounding_set() -> bool:
    """Whether this process, in its present user namespace, has CAP_SETPCAP."""
    return bool(syscalls.effective_capabilities() >> _CAP_SETPCAP & 1)


def _identity_steps(uid: int, gid: int) -> List[Step]:
    return [
        Step("uid", "setgroups", os.setgroups, ([],), None),
        Step("uid", f"setresgid {gid}", os.setresgid, (gid, gid, gid), None),
        Step("uid", f"setresuid {uid}", os.setresuid, (uid, uid, uid), None),
    ]
