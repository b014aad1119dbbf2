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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from workmanager.model.spec import Resources

WANTED = ("memory", "pids", "cpu", "io")
NEEDED = frozenset({"memory", "pids"})  # without these the tree is not worth having
CPU_PERIOD_US = 100_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a group has used: CPU seconds, the most memory at once, and bytes read and written."""

    cpu_s: float = 0.0
    memory_peak_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


class Group:
    """The group of one executor."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, pid: int) -> None:
        """Move *pid* into the group; its later children are born there.

        Raises:
            OSError: It has gone, or the group is full.
        """
        _write(self._path / "cgroup.procs", str(pid))

    def kill(self) -> None:
        """SIGKILL everything in it, forks under way included (cgroup.kill, Linux 5.14)."""
        with contextlib.suppress(OSError):
            _write(self._path / "cgroup.kill", "1")

    def oom_kills(self) -> int:
        """How often the kernel killed something in it for its memory."""
        return _keyed(self._path / "memory.events").get("oom_kill", 0)

    def pids_refused(self) -> int:
        """How often a fork in it was refused."""
        return _keyed(self._path / "pids.events").get("max", 0)

    def usage(self) -> Usage:
        """What it has used so far."""
        io = _io(self._path / "io.stat")
        return Usage(
            cpu_s=_keyed(self._path / "cpu.stat").get("usage_usec", 0) / 1e6,
            memory_peak_bytes=_number(self._path / "memory.peak"),
            read_bytes=io[0],
            written_bytes=io[1],
        )

    def remove(self) -> None:
        """Delete the group; it must be empty by now."""
        try:
            self._path.rmdir()
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
        for file, value in _limits(resources, self.controllers):
            _write(path / file, value)
        return Group(path)


def open_tree(
    mounts: Path = Path("/proc/self/mountinfo"), own: Path = Path("/proc/self/cgroup")
) -> tuple[Tree | None, str]:
    """Find what is delegated to this process and make it ready for executors.

    Returns:
        The tree, and what it can do; or None, and why there is none and how to get one.
    """
    root = _mount_point(mounts.read_text())
    place = next((line[3:] for line in own.read_text().splitlines() if line.startswith("0::")), "")
    if root is None or not place:
        return None, "no cgroup v2 hierarchy is mounted"
    base = root / place.lstrip("/")
    if not (base / "cgroup.type").exists():
        return None, "the service runs in the root group; run it under systemd with Delegate=yes"
    given = frozenset(_words(base / "cgroup.controllers"))
    if not given >= NEEDED:
        missing = ", ".join(sorted(NEEDED - given))
        return None, f"controllers {missing} are not delegated; set Delegate=yes in the unit"
    try:
        return _prepare(base, given), f"controllers {', '.join(sorted(given & set(WANTED)))}"
    except OSError as error:
        return None, f"{base} is not delegated to this user ({error.strerror}); set Delegate=yes"


def _prepare(base: Path, given: frozenset[str]) -> Tree:
    """Move ourselves into a leaf, clear away what a former run left, and pass controllers on."""
    leaf = base / "supervisor"
    leaf.mkdir(exist_ok=True)
    for pid in _words(base / "cgroup.procs"):
        with contextlib.suppress(ProcessLookupError):
            _write(leaf / "cgroup.procs", pid)
    for old in base.glob("x-*"):
        Group(old).kill()
        with contextlib.suppress(OSError):
            old.rmdir()
    enabled = set()
    for controller in WANTED:
        if controller in given:
            _write(base / "cgroup.subtree_control", f"+{controller}")
            enabled.add(controller)
    return Tree(base, frozenset(enabled))


def _limits(resources: Resources, controllers: frozenset[str]) -> list[tuple[str, str]]:
    values = [
        ("memory", "memory.max", str(resources.memory_max_bytes)),
        ("memory", "memory.swap.max", "0"),
        ("memory", "memory.oom.group", "1"),
        ("pids", "pids.max", str(resources.pids_max)),
        ("cpu", "cpu.max", f"{int(resources.cpu_max_cores * CPU_PERIOD_US)} {CPU_PERIOD_US}"),
    ]
    return [(file, value) for controller, file, value in values if controller in controllers]


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


def _number(path: Path) -> int:
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else 0


def _keyed(path: Path) -> dict[str, int]:
    words = _words(path)
    return {k: int(v) for k, v in zip(words[::2], words[1::2], strict=False) if v.isdigit()}


def _io(path: Path) -> tuple[int, int]:
    read = written = 0
    for word in _words(path):
        name, _, value = word.partition("=")
        if value.isdigit():
            read += int(value) if name == "rbytes" else 0
            written += int(value) if name == "wbytes" else 0
    return read, written
