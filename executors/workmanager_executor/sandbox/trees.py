"""Which parts of the host's file system an executor sees, and how they are laid out again.

Pure but for lstat and readlink: `plan` says which directories, links and binds make up the tree;
`mounts` builds it, `landlock` allows the same paths where there is no tree.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from .errors import SandboxError

if TYPE_CHECKING:
    from .profile import Profile

BASIC_RUN = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_ETC = (
    "/etc/alternatives",  # libblas and libpython of Debian lead through it
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/pki",
    "/etc/ssl",
)
_ETC_NETWORK = (
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
)
_PROCESSORS = "/sys/devices/system/cpu"
_PROC = (
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/proc/uptime",
    "/proc/version",
)
# Of /proc/self the whole would show the host's connections and sockets (net), and its mounts.
_OWN_PROC = (
    *("auxv", "cgroup", "cmdline", "comm", "environ", "fd", "fdinfo", "io", "limits", "maps"),
    *("smaps", "stat", "statm", "status"),
)
OWN_PROC = {
    "python": tuple(f"/proc/self/{name}" for name in _OWN_PROC),
    "dotnet": ("/proc/self",),  # CoreCLR looks at its threads
}
DEVICES = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")
BASIC_READ = (*_ETC, *_ETC_NETWORK, "/etc/group", "/etc/passwd", _PROCESSORS, *_PROC, *DEVICES)

_STEPS_MAX = 400  # of one path's walk; a circle of links never ends by itself


class Tree(NamedTuple):
    """A layout: everything by its absolute path, which is the same inside and outside."""

    directories: Tuple[str, ...]  # parents first; binds of directories included
    files: Tuple[str, ...]  # binds of files: empty places to mount upon
    links: Tuple[Tuple[str, str], ...]  # path, target
    binds: Tuple[str, ...]
    followed: Tuple[Tuple[str, str], ...] = ()  # every link that the plan relies on


def plan(profile: Profile) -> Tree:
    """Lay out what *profile* shows of the host.

    Raises:
        SandboxError: A path that the profile names does not exist, or leads to /proc, /sys, /dev.
    """
    network = _ETC_NETWORK if profile.network in ("ports", "full") else ()
    optional = (*BASIC_RUN, *_ETC, *network, _PROCESSORS, *profile.runtime_paths)
    links: Dict[str, str] = {}
    found = [_resolve(path, links) for path in optional]
    found += [_demand(path, links) for path in (*profile.read_paths, *profile.foreign_paths)]
    binds = _outermost([path for path in found if path is not None])
    outer_links = [(path, to) for path, to in links.items() if not _inside_any(path, binds)]
    return _layout(binds, outer_links)._replace(followed=tuple(links.items()))


def is_current(tree: Tree) -> bool:
    """Whether the host still looks as it did when *tree* was planned."""
    try:
        return all(os.readlink(path) == target for path, target in tree.followed) and all(
            os.path.lexists(path) for path in tree.binds
        )
    except OSError:
        return False


def _layout(binds: Sequence[str], links: Sequence[Tuple[str, str]]) -> Tree:
    files = tuple(path for path in binds if not stat.S_ISDIR(os.stat(path).st_mode))
    needed: Dict[str, None] = {}
    for path in [*binds, *(path for path, _ in links)]:
        needed.update(dict.fromkeys(_parents(path)))
    needed.update(dict.fromkeys(path for path in binds if path not in files))
    return Tree(tuple(needed), files, tuple(links), tuple(binds))


def _demand(path: str, links: Dict[str, str]) -> str:
    real = _resolve(path, links)
    if real is None:
        raise SandboxError("root", f"{path} does not exist, or this user cannot reach it")
    if real == "/" or real.split("/")[1] in ("proc", "sys", "dev"):
        raise SandboxError("root", f"{path} leads to {real}, which would void the private tree")
    return real


def _resolve(path: str, links: Dict[str, str]) -> Optional[str]:
    """Follow *path* by hand, noting each link on the way; None if it leads nowhere."""
    real, todo = "", _parts(path)
    for _ in range(_STEPS_MAX):
        if not todo:
            return real or "/"
        part, *todo = todo
        if part == "..":
            real = real.rpartition("/")[0]
            continue
        here = f"{real}/{part}"
        try:
            target = _link_target(here)
        except OSError:
            return None
        if target is None:
            real = here
        else:
            links[here] = target
            todo = _parts(target) + todo
            real = "" if target.startswith("/") else real
    raise SandboxError("root", f"{path}: {os.strerror(errno.ELOOP)}")


def _parts(path: str) -> List[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _link_target(path: str) -> Optional[str]:
    """What the link points to; None if *path* is no link."""
    return os.readlink(path) if stat.S_ISLNK(os.lstat(path).st_mode) else None


def _parents(path: str) -> List[str]:
    """/a/b of /a/b/c, outermost first, without the root."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def _outermost(paths: Iterable[str]) -> List[str]:
    kept: List[str] = []
    for path in sorted(set(paths), key=len):
        if not _inside_any(path, kept):
            kept.append(path)
    return kept


def _inside_any(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root + "/") for root in roots)
