"""Namespaces: own users, pids, network, ipc, host name, cgroup view. The tree follows in `mounts`.

At level full the user namespace gives an ordinary user the right to the others. Root at level full
maps two ids, 0 to build the tree and an unprivileged one to live under, for uid 0 is exempt from
RLIMIT_NPROC and owns too many files.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING, Callable, List, Optional, Tuple

from . import syscalls
from .profile import NOBODY
from .steps import Step, writing

if TYPE_CHECKING:
    from .profile import Profile

_HOST_NAME = "worker"
_ALWAYS = (
    syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWCGROUP
)
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
# One pot per uid on the whole host, unless the user namespace sets a lower one of its own.
_USER_CAPS = (("max_user_namespaces", b"0"), ("max_inotify_instances", b"16"))
_LAYER = "namespaces"
_IDS = struct.Struct("=II")

Identity = Optional[Tuple[int, int]]  # uid and gid to become; None: stay who you are
MapIds = Callable[[Tuple[int, int]], bool]  # asks an outsider for `map_two_ids`; False: refused


def identity_of(profile: Profile) -> Identity:
    """Whom the executor has to become; only root can become anybody."""
    if os.geteuid() != 0 or profile.level == "none":
        return None
    if profile.uid is not None:
        return profile.uid, profile.uid if profile.gid is None else profile.gid
    return (NOBODY, NOBODY) if profile.level == "full" else None


def leave(profile: Profile, identity: Identity, map_ids: Optional[MapIds] = None) -> None:
    """Leave the host's namespaces; the next child is pid 1 of its own pid namespace.

    Args:
        map_ids: Asks a process that stays outside; None forks one for that.

    Raises:
        OSError: The kernel refuses.
    """
    flags = _ALWAYS | (syscalls.CLONE_NEWNET if profile.has_own_network else 0)
    if profile.level == "uid":
        syscalls.unshare(flags)
    elif identity is None:
        syscalls.unshare(flags | syscalls.CLONE_NEWUSER)
    else:
        map_ids = map_ids or _fork_outsider(os.getpid())
        syscalls.unshare(flags | syscalls.CLONE_NEWUSER)
        if not map_ids(identity):
            raise PermissionError(1, "the id maps were refused", f"uid_map of {identity[0]}")


def map_two_ids(pid: int, identity: Tuple[int, int]) -> None:
    """Map 0 and *identity* to themselves in the user namespace that *pid* has just made.

    Only a process outside of it may map more than its maker's own id.

    Raises:
        OSError: The kernel refuses.
    """
    for name, own in (("uid_map", identity[0]), ("gid_map", identity[1])):
        target = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(target, b"0 0 1\n%d %d 1" % (own, own))
        finally:
            os.close(target)


def steps(profile: Profile, identity: Identity) -> List[Step]:
    """What the new namespaces need, as calls of their first process; it has all capabilities."""
    found: List[Step] = []
    if profile.level == "full":
        if identity is None:
            found += _map_steps(os.geteuid(), os.getegid())
        for name, value in _USER_CAPS:
            found += writing(_LAYER, f"/proc/sys/user/{name}", value)
    found.append(syscalls.host_name_step(_LAYER, _HOST_NAME))
    if profile.network == "loopback":
        found.append(Step("network", "raise lo", _raise_loopback, (), None))
    return found


def _map_steps(uid: int, gid: int) -> List[Step]:
    """Map one's own id to itself; user_namespaces(7) wants setgroups denied before."""
    return [
        # A service that gave up root without an exec does not own its /proc/self.
        syscalls.prctl_step(_LAYER, syscalls.PR_SET_DUMPABLE, 1),
        *writing(_LAYER, "/proc/self/setgroups", b"deny"),
        *writing(_LAYER, "/proc/self/uid_map", b"%d %d 1" % (uid, uid)),
        *writing(_LAYER, "/proc/self/gid_map", b"%d %d 1" % (gid, gid)),
    ]


def _fork_outsider(pid: int) -> MapIds:
    ours, theirs = socket.socketpair()
    outsider = os.fork()
    if outsider == 0:
        ours.close()
        asked = theirs.recv(_IDS.size)  # empty if the other one has ended
        try:
            map_two_ids(pid, _IDS.unpack(asked))
        except (OSError, struct.error):
            os._exit(1)
        os._exit(0)
    theirs.close()

    def map_ids(identity: Tuple[int, int]) -> bool:
        with ours:
            ours.send(_IDS.pack(*identity))
            return os.waitpid(outsider, 0)[1] == 0

    return map_ids


def _raise_loopback() -> None:
    request = struct.pack("16sH14x", b"lo", _IFF_UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)
