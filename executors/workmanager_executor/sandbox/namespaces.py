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
from typing import Optional, Tuple

from . import syscalls
from .profile import NOBODY, Profile

_HOST_NAME = "worker"
_ALWAYS = (
    syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWCGROUP
)
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
# One pot per uid on the whole host, unless the user namespace sets a lower one of its own.
_USER_CAPS = {"max_user_namespaces": "0", "max_inotify_instances": "16"}

Identity = Optional[Tuple[int, int]]  # uid and gid to become; None: stay who you are


def identity_of(profile: Profile) -> Identity:
    """Whom the executor has to become; only root can become anybody."""
    if os.geteuid() != 0 or profile.level == "none":
        return None
    if profile.uid is not None:
        return profile.uid, profile.uid if profile.gid is None else profile.gid
    return (NOBODY, NOBODY) if profile.level == "full" else None


def separate(profile: Profile, identity: Identity) -> None:
    """Leave the host's namespaces; the next child is pid 1 of its own pid namespace."""
    flags = _ALWAYS | (syscalls.CLONE_NEWNET if profile.has_own_network else 0)
    if profile.level == "uid":
        syscalls.unshare(flags)
    elif identity is None:
        _map_oneself(flags | syscalls.CLONE_NEWUSER)
    else:
        _map_by_helper(flags | syscalls.CLONE_NEWUSER, identity)
    _furnish(profile)


def _furnish(profile: Profile) -> None:
    """Set up what the new namespaces need, while there are capabilities over them."""
    syscalls.set_host_name(_HOST_NAME)
    if profile.network == "loopback":
        _raise_loopback()
    if profile.level == "full":
        for name, value in _USER_CAPS.items():
            _write_file(f"/proc/sys/user/{name}", value)


def _write_file(path: str, text: str) -> None:
    """Write in one call: the kernel's files take no second one, and the error must be heard."""
    target = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(target, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(target)


def _map_oneself(flags: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(flags)
    _write_file("/proc/self/setgroups", "deny")  # user_namespaces(7): else no gid_map
    _write_file("/proc/self/uid_map", f"{uid} {uid} 1")
    _write_file("/proc/self/gid_map", f"{gid} {gid} 1")


def _map_by_helper(flags: int, identity: Tuple[int, int]) -> None:
    """Only a process outside the new namespace may map more than the caller's own id."""
    pid = os.getpid()
    wait_end, go_end = os.pipe()
    helper = os.fork()
    if helper == 0:
        os._exit(_help(pid, wait_end, go_end, identity))
    try:
        syscalls.unshare(flags)
        os.write(go_end, b"g")
    finally:
        os.close(go_end)
        os.close(wait_end)
        status = os.waitpid(helper, 0)[1]
    if status != 0:
        raise PermissionError(1, "the id maps were refused", f"uid_map of {identity[0]}")


def _help(pid: int, wait_end: int, go_end: int, identity: Tuple[int, int]) -> int:
    os.close(go_end)
    if os.read(wait_end, 1) != b"g":
        return 1
    try:
        _write_file(f"/proc/{pid}/uid_map", f"0 0 1\n{identity[0]} {identity[0]} 1")
        _write_file(f"/proc/{pid}/gid_map", f"0 0 1\n{identity[1]} {identity[1]} 1")
    except OSError:
        return 1
    return 0


def _raise_loopback() -> None:
    request = struct.pack("16sH14x", b"lo", _IFF_UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)
