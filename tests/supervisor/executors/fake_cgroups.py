"""A folder that looks like a delegated part of a cgroup v2 hierarchy, as the kernel shows it.

Files that the kernel makes in a new group are made by hand: `mkdir` is watched for by `Hierarchy`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BASE = {"cgroup.type": "domain\n", "cgroup.procs": "", "cgroup.subtree_control": ""}
GROUP = {
    **BASE,
    "cgroup.kill": "",
    "cgroup.events": "populated 0\nfrozen 0\n",
    "memory.max": "max\n",
    "memory.swap.max": "max\n",
    "memory.oom.group": "0\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n",
    "pids.max": "max\n",
    "pids.events": "max 2\n",
    "cpu.max": "max 100000\n",
    "cpu.weight": "100\n",
    "cpu.stat": "usage_usec 2500000\nuser_usec 1\nnr_throttled 3\nthrottled_usec 1500000\n",
    "io.weight": "default 100\n",
}


class Hierarchy:
    """A mounted hierarchy with one delegated group, `/unit`."""

    def __init__(self, folder: Path, controllers: str = "cpu io memory pids") -> None:
        self.root = folder / "cgroup"
        self.unit = self.root / "unit"
        self.unit.mkdir(parents=True)
        self.fill(self.unit, {**BASE, "cgroup.controllers": f"{controllers}\n"})
        (self.unit / "cgroup.procs").write_text(f"{os.getpid()}\n")
        self.mounts = folder / "mountinfo"
        self.mounts.write_text(
            "24 1 0:22 / /proc rw - proc proc rw\n"
            f"30 24 0:26 / {self.root} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
        )
        self.own = folder / "own"
        self.own.write_text("1:name=systemd:/elsewhere\n0::/unit\n")
        self.fill(self.unit / "supervisor", GROUP)

    @staticmethod
    def fill(folder: Path, files: dict[str, str]) -> Path:
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        return folder

    def group(self, name: str) -> Path:
        """Make the files that the kernel would make with the group."""
        return self.fill(self.unit / f"x-{name}", GROUP)
