"""cgroup v2: what an executor and all it starts may use together, where the host delegates it.

    <delegated>/supervisor/            the service itself: a group with children holds no process
    <delegated>/x-<executor>/          one group per executor: memory, pids, cpu, io

Where nothing is delegated the limits fall back to rlimits and to memory sampling, and health says
so. cgroup v1 is not used: systemd does not delegate it.

Source: Documentation/admin-guide/cgroup-v2.rst; systemd.resource-control(5), Delegate=.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from workmanager.policy.limits import Evidence

if TYPE_CHECKING:
    from workmanager.model.spec_process import Resources

WANTED = ("memory", "pids", "cpu", "io")
NEEDED = frozenset({"memory", "pids"})  # without these the tree is not worth having
CPU_PERIOD_US = 100_000
OWN_WEIGHT = 1000  # of the service, beside 100 of an executor: it has to stay in control

log = structlog.get_logger()


class Group:
    """The group of one executor."""

    def __init__(self, path: Path, controllers: frozenset[str] = frozenset(WANTED)) -> None:
        self._path = path
        self._controllers = controllers

    def open_members(self) -> int:
        """Open its list of members: who writes `0` into it joins, and its children are born there.

        Raises:
            OSError: The group is gone, or there are no descriptors left.
        """
        return os.open(self._path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def kill(self) -> None:
        """SIGKILL everything in it, forks under way included (cgroup.kill, Linux 5.14)."""
        with contextlib.suppress(OSError):
            _write(self._path / "cgroup.kill", "1")

    def is_populated(self) -> bool:
        """Tell whether a process in it, or below it, is alive."""
        return _keyed(self._path / "cgroup.events").get("populated", 0) != 0

    def evidence(self) -> Evidence:
        """Return what was refused, killed or held back in it so far."""
        return Evidence(
            oom_kills=_keyed(self._path / "memory.events").get("oom_kill", 0),
            pids_refused=_keyed(self._path / "pids.events").get("max", 0),
            throttled_s=_keyed(self._path / "cpu.stat").get("throttled_usec", 0) / 1e6,
        )

    def cpu_ns(self) -> int:
        """Return the processor time of all that ever were in it; 0 if it is gone."""
        return _keyed(self._path / "cpu.stat").get("usage_usec", 0) * 1000

    def weigh(self, resources: Resources) -> None:
        """Set its shares of processors and disks, beside those of others that want them.

        Raises:
            OSError: The kernel refuses.
        """
        _set(self._path, _weights(resources), self._controllers)

    def remove(self) -> None:
        """Kill what is left in it and delete it.

        A process that does not die keeps it; the next start of the service tries again.
        """
        self.kill()
        try:
            self._path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("cgroup_not_removed", path=self._path.name, error=error.strerror)


class Tree:
    """The part of the hierarchy that is delegated to this service."""

    def __init__(self, base: Path, controllers: frozenset[str]) -> None:
        self._base = base
        self.controllers = controllers

    def group(self, name: str, resources: Resources) -> Group:
        """Make the group of an executor and set its limits.

        Raises:
            OSError: The kernel refuses.
        """
        path = self._base / f"x-{name}"
        path.mkdir(exist_ok=True)
        _set(path, [*_limits(resources), *_weights(resources)], self.controllers)
        return Group(path, self.controllers)


def open_tree(
    mounts: Path = Path("/proc/self/mountinfo"), own: Path = Path("/proc/self/cgroup")
) -> tuple[Tree | None, str]:
    """Find what is delegated to this process and make it ready for executors.

    Returns:
        The tree, and what it can do; or None, and why there is none.
    """
    base, words = find_base(mounts, own)
    if base is None:
        return None, words
    try:
        return _prepare(base, frozenset(_words(base / "cgroup.controllers"))), words
    except OSError as error:
        return None, f"its group is not delegated to this user ({error.strerror})"


def find_base(
    mounts: Path = Path("/proc/self/mountinfo"), own: Path = Path("/proc/self/cgroup")
) -> tuple[Path | None, str]:
    """Find the group that could be divided among executors, and which controllers it has.

    Returns:
        The group, and its controllers; or None, and why it is of no use.
    """
    root = _mount_point(mounts.read_text())
    place = next((line[3:] for line in own.read_text().splitlines() if line.startswith("0::")), "")
    if root is None or not place:
        return None, "no cgroup v2 hierarchy is mounted"
    base = _above_leaf(root / place.lstrip("/"))
    if not (base / "cgroup.type").exists():
        return None, "the service runs in the root group"
    given = frozenset(_words(base / "cgroup.controllers"))
    if not given >= NEEDED:
        missing = ", ".join(sorted(NEEDED - given))
        return None, f"controllers {missing} are not delegated"
    if not _is_ours_alone(base):
        return None, "other processes are in the service's group"
    return base, f"controllers {', '.join(sorted(given & set(WANTED)))}"


def _above_leaf(place: Path) -> Path:
    """Return the delegated group: a service that starts itself anew is in its leaf already."""
    return place.parent if place.name == "supervisor" else place


def _is_ours_alone(base: Path) -> bool:
    """Tell whether only this process is in the group: nobody else's process is moved about."""
    return set(_words(base / "cgroup.procs")) <= {str(os.getpid())}


def _prepare(base: Path, given: frozenset[str]) -> Tree:
    """Move ourselves into a leaf, clear away what a former run left, and pass controllers on."""
    leaf = base / "supervisor"
    leaf.mkdir(exist_ok=True)
    _write(leaf / "cgroup.procs", str(os.getpid()))
    for old in base.glob("x-*"):
        Group(old).remove()
    enabled = frozenset(name for name in WANTED if name in given)
    for controller in sorted(enabled):
        _write(base / "cgroup.subtree_control", f"+{controller}")
    _set(leaf, [("cpu", "cpu.weight", str(OWN_WEIGHT))], enabled)
    _set(leaf, [("io", "io.weight", f"default {OWN_WEIGHT}")], enabled)
    return Tree(base, enabled)


def _limits(resources: Resources) -> list[tuple[str, str, str]]:
    return [
        ("memory", "memory.max", str(resources.memory_max_bytes)),
        ("memory", "memory.swap.max", "0"),
        ("memory", "memory.oom.group", "1"),
        ("pids", "pids.max", str(resources.pids_max)),
        ("cpu", "cpu.max", f"{int(resources.cpu_max_cores * CPU_PERIOD_US)} {CPU_PERIOD_US}"),
    ]


def _weights(resources: Resources) -> list[tuple[str, str, str]]:
    return [
        ("cpu", "cpu.weight", str(resources.cpu_weight)),
        ("io", "io.weight", f"default {resources.io_weight}"),
    ]


def _set(path: Path, values: list[tuple[str, str, str]], controllers: frozenset[str]) -> None:
    """Write the values of those controllers that there are.

    Files that depend on how the kernel was built are let go: without swap there is no limit of
    it, and io.weight needs an I/O scheduler that knows weights.
    """
    for controller, file, value in values:
        if controller in controllers:
            with contextlib.suppress(FileNotFoundError):
                _write(path / file, value)


def _mount_point(mountinfo: str) -> Path | None:
    """Find the cgroup2 mount (proc(5): fields before " - " are fixed, the type comes after)."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    return None


def _write(path: Path, value: str) -> None:
    """Write with one system call: a buffered file would lose the kernel's answer."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _keyed(path: Path) -> dict[str, int]:
    words = _words(path)
    return {k: int(v) for k, v in zip(words[::2], words[1::2], strict=False) if v.isdigit()}
