"""The executor's own tree: a small tmpfs, read-only binds of the host, a private /proc, a scratch.

It is built on top of /proc, the one directory that is never a parent of what is bound: a mount
point above a source would hide it. The old /proc stays reachable by the working directory.
"""

from __future__ import annotations

import os
from typing import Iterable, List, Tuple

from .profile import PRIVATE_SCRATCH, Profile
from .steps import Step, writing
from .syscalls import (
    ATTR_NODEV,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_RDONLY,
    CLONE_NEWNS,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    mount_setattr_step,
    mount_step,
    pivot_steps,
    unshare_step,
)
from .trees import DEVICES, Tree

_BASE = "/proc"
_PROC_SUBSTITUTES = ("cpuinfo", "meminfo", "stat")
_DIRECTORIES = ("/dev", "/etc", "/proc", "/var", PRIVATE_SCRATCH)
_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/shm", PRIVATE_SCRATCH),  # noqa: S108 - POSIX semaphores count as scratch
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/var/tmp", PRIVATE_SCRATCH),  # noqa: S108
)
_SHUT = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV
_BIND = MS_BIND | MS_REC  # a user namespace may not separate a mount from those below it


def steps(profile: Profile, tree: Tree, owner: Tuple[int, int]) -> List[Step]:
    """The calls that build the tree and move into it, in an own mount namespace.

    Args:
        tree: What to show of the host.
        owner: uid and gid that the scratch belongs to.

    A private /proc may be refused (a container masks parts of the outer one, and a user namespace
    may not uncover them): the step's fallback puts three files in its place.
    """
    return [
        unshare_step("root", CLONE_NEWNS),
        mount_step("root", None, "/", None, flags=MS_REC | MS_PRIVATE),
        Step("root", "chdir /proc", os.chdir, ("/proc",), None),
        _tmpfs("root", _BASE, MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=1024,mode=0755"),
        *_lay_out(tree, owner),
        *(
            mount_step("root", path, _BASE + path, None, flags=_BIND)
            for path in _outside(tree.binds)
        ),
        _proc(),
        mount_setattr_step("root", _BASE, _SHUT, recursive=True),
        *_devices(),
        *_scratch(profile, tree, owner),
        *pivot_steps("root", _BASE),
    ]


def _lay_out(tree: Tree, owner: Tuple[int, int]) -> List[Step]:
    """Everything that is no mount: directories, places to mount upon, links, a passwd of one."""
    directories = dict.fromkeys((*_DIRECTORIES, *_outside(tree.directories)))
    found = [_mkdir(path) for path in directories]
    for path in (*DEVICES, *_outside(tree.files)):
        found += _file(path)
    links = dict((*_LINKS, *tree.links))
    found += [_symlink(path, links[path]) for path in _outside(links) if path not in directories]
    uid, gid = owner
    passwd = f"worker:x:{uid}:{gid}:worker:{PRIVATE_SCRATCH}:/bin/sh\n"
    return [*found, *_file("/etc/passwd", passwd), *_file("/etc/group", f"worker:x:{gid}:\n")]


def _devices() -> List[Step]:
    """After the recursive change, for with nodev a device cannot be opened."""
    found = []
    for path in DEVICES:
        found.append(mount_step("root", path, _BASE + path, None, flags=MS_BIND))
        attributes = ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC
        found.append(mount_setattr_step("root", _BASE + path, attributes))
    return found


def _scratch(profile: Profile, tree: Tree, owner: Tuple[int, int]) -> List[Step]:
    """The one writable place, and what the profile shows below it, which has to come later."""
    size = f"size={profile.scratch_bytes},nr_inodes={profile.scratch_inodes}"
    options = f"{size},mode=0700,uid={owner[0]},gid={owner[1]}"
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    found = [_tmpfs("scratch", _BASE + PRIVATE_SCRATCH, flags, options)]
    found += [_mkdir(path) for path in filter(_is_below_scratch, tree.directories)]
    for path in filter(_is_below_scratch, tree.files):
        found += _file(path)
    found += [_symlink(path, to) for path, to in tree.links if _is_below_scratch(path)]
    for path in filter(_is_below_scratch, tree.binds):
        found.append(mount_step("root", path, _BASE + path, None, flags=_BIND))
        found.append(mount_setattr_step("root", _BASE + path, _SHUT, recursive=True))
    return found


def _proc() -> Step:
    flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    substitutes: List[Step] = []
    for name in _PROC_SUBSTITUTES:
        substitutes += _file(f"/proc/{name}")
        substitutes.append(mount_step("proc", name, f"{_BASE}/proc/{name}", None, flags=MS_BIND))
    step = mount_step("proc", "proc", _BASE + "/proc", "proc", flags=flags)
    return step._replace(fallback=tuple(substitutes))


def _tmpfs(layer: str, target: str, flags: int, options: str) -> Step:
    return mount_step(layer, "tmpfs", target, "tmpfs", flags=flags, data=options)


def _mkdir(path: str) -> Step:
    return Step("root", f"mkdir {path}", os.mkdir, (_BASE + path, 0o755), None)


def _symlink(path: str, target: str) -> Step:
    return Step("root", f"symlink {path}", os.symlink, (target, _BASE + path), None)


def _file(path: str, text: str = "") -> List[Step]:
    return writing("root", _BASE + path, text.encode(), flags=os.O_CREAT)


def _outside(paths: Iterable[str]) -> List[str]:
    return [path for path in paths if path != PRIVATE_SCRATCH and not _is_below_scratch(path)]


def _is_below_scratch(path: str) -> bool:
    return path.startswith(PRIVATE_SCRATCH + "/")
