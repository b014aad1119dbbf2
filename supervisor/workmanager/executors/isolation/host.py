"""The sandbox of this host as the service uses it: chosen at start, asked for every executor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from workmanager.errors import IsolationError
from workmanager.executors.cgroups import open_tree
from workmanager.executors.isolation import levels, profiles
from workmanager.executors.isolation.interpreters import folders_of
from workmanager.executors.isolation.outlook import LevelOutlook, Outlook, probe
from workmanager.executors.isolation.room import Room
from workmanager.executors.isolation.scratch import Scratch
from workmanager_executor.sandbox import LAYERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.config import Settings
    from workmanager.executors.cgroups import Group, Tree
    from workmanager.executors.isolation.outlook import Record
    from workmanager.model.spec import WorkerSpec

UIDS = 65_536  # one per worker; numbers beyond begin anew
PROBED_LIMITS = {"memoryBytes": 256 * 2**20}
UID_MAP = Path("/proc/self/uid_map")
OWN_UID_LEVELS = ("uid", "full")
_BY_THE_SERVICE = ("cgroups", "memory")  # no layer of the executor's own: the service sees to them

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Isolation:
    """What executors of this service are put into.

    Attributes:
        level: Of workers that ask for none in particular.
        required: Levels and layers without which nothing may run.
        uid_base: First of the uids that workers run under; None where there are none to give.
        tree: The cgroups that are delegated to the service; None without.
        grouping: What the tree can do, or why there is none.
    """

    outlook: Outlook
    level: str
    required: tuple[str, ...]
    uid_base: int | None
    tree: Tree | None
    grouping: str
    scratch: Scratch

    def records(self) -> list[Record]:
        """Return one record per layer at the service's own level."""
        probed = self.outlook.levels.get(self.level)
        by_layer = {str(r["layer"]): r for r in (probed.records if probed is not None else ())}
        named = [
            by_layer.get(layer) or {"layer": layer, "state": "off", "detail": "level none"}
            for layer in LAYERS
        ]
        found = self.complete(named, is_grouped=self.tree is not None)
        if self.uid_base is not None and self.level in OWN_UID_LEVELS:
            uid = next(record for record in found if record["layer"] == "uid")
            uid["detail"] = f"one for each worker, from {self.uid_base} on"
        return found

    def complete(self, records: Sequence[Record], *, is_grouped: bool) -> list[Record]:
        """Add to the records of an executor what only the service can know.

        Args:
            is_grouped: The executor is in a cgroup of its own.
        """
        wanted = levels.layers_of(self.required)
        own = self._own_records(is_grouped=is_grouped)
        found = []
        for record in records:
            layer = str(record.get("layer", ""))
            merged = {**record, **own.get(layer, {})}
            if layer == "memory" and not is_grouped:
                merged["detail"] = f"{record['detail'] or 'no rlimit'}; sampled, killed above it"
            found.append({**merged, "required": layer in wanted})
        return found

    def room(
        self,
        spec: WorkerSpec,
        *,
        worker_no: int,
        executor: str,
        python: str | None = None,
        paths: Sequence[str] = (),
    ) -> Room:
        """Make the surroundings of an executor; the caller clears them when it has ended.

        Args:
            python: Path of another interpreter that it runs.
            paths: What its engine has to read.

        Raises:
            IsolationError: The worker asks for what cannot be had, or for less than is required.
        """
        level = self.level_of(spec)
        group = self._group(spec, executor)
        profile = self.profile(
            spec,
            worker_no=worker_no,
            executor=executor,
            python=python,
            paths=paths,
            is_grouped=group is not None,
        )
        return Room(executor, level, profile, group, self.scratch)

    def profile(
        self,
        spec: WorkerSpec,
        *,
        worker_no: int,
        executor: str,
        python: str | None = None,
        paths: Sequence[str] = (),
        is_grouped: bool = False,
    ) -> dict[str, Any]:
        """Make the profile of an executor.

        Args:
            executor: Its id, for the name of its scratch folder.
            python: Path of another interpreter that it runs.
            paths: What its engine has to read.
            is_grouped: A cgroup bounds its memory.

        Raises:
            IsolationError: The worker asks for what cannot be had, or for less than is required.
        """
        level = self.level_of(spec)
        return profiles.make(
            spec,
            level=level,
            uid=self._uid(worker_no, level),
            python=folders_of(python) if python is not None else (),
            paths=paths,
            scratch=str(self.scratch.make(executor)) if level == "basic" else None,
            memory_is_grouped=is_grouped,
            required=[
                layer for layer in levels.layers_of(self.required) if layer not in _BY_THE_SERVICE
            ],
        )

    def level_of(self, spec: WorkerSpec) -> str:
        """Return the level of a worker's executors.

        Raises:
            IsolationError: As for `profile`.
        """
        floor = levels.floor_of(self.required)
        level = levels.level_for(spec, self.outlook, default=self.level, floor=floor)
        levels.check_wishes(spec, self.outlook, level, self.required)
        return level

    def _group(self, spec: WorkerSpec, executor: str) -> Group | None:
        """Make its cgroup.

        Raises:
            IsolationError: There is a tree of cgroups, and still it cannot be made.
        """
        if self.tree is None:
            return None
        try:
            return self.tree.group(executor, spec.resources)
        except OSError as error:
            text = f"no cgroup could be made for {executor}: {error.strerror}"
            raise IsolationError(text, layer="cgroups") from error

    def _uid(self, worker_no: int, level: str) -> int | None:
        if self.uid_base is None or level not in OWN_UID_LEVELS:
            return None
        return self.uid_base + worker_no % UIDS

    def _own_records(self, *, is_grouped: bool) -> dict[str, Record]:
        if is_grouped:
            active = {"state": "active", "detail": self.grouping}
            memory = {"state": "active", "detail": "cgroup memory.max, no swap"}
            return {"cgroups": dict(active), "memory": dict(memory)}
        return {
            "cgroups": {"state": "unavailable", "detail": self.grouping},
            "memory": {"state": "degraded"},
        }


def open_isolation(settings: Settings) -> Isolation:
    """Probe the host and choose the level; blocking, for the start, before threads exist.

    This process moves to a leaf of its cgroup, where one is delegated.

    Raises:
        IsolationError: What the settings require cannot be had.
    """
    outlook, uid_base = survey(settings)
    level = levels.choose(outlook, settings.sandbox_level)
    tree, grouping = open_tree()
    scratch = Scratch(settings.state / "scratch")
    isolation = Isolation(
        outlook, level, settings.sandbox_require, uid_base, tree, grouping, scratch
    )
    levels.check_required(outlook, level, isolation.records(), settings.sandbox_require)
    _report(isolation)
    return isolation


def survey(settings: Settings) -> tuple[Outlook, int | None]:
    """Probe the host; nothing is changed.

    Returns:
        What it can give, and the first of the uids for workers; None where there are none.
    """
    uid_base, unmapped = _uids(settings.sandbox_uid_base)
    return _without_uids(probe({"limits": PROBED_LIMITS}), unmapped), uid_base


def _report(isolation: Isolation) -> None:
    weak = {
        str(record["layer"]): record["detail"]
        for record in isolation.records()
        if record["state"] in ("degraded", "unavailable")
    }
    if isolation.level == "none":
        log.warning(
            "sandbox_off",
            why={name: found.detail for name, found in isolation.outlook.levels.items()},
            hint="user code runs with the rights of the service; see workmanager doctor --sandbox",
        )
    log.info("sandbox", level=isolation.level, weak=weak)


def _uids(base: int) -> tuple[int | None, str]:
    """Return the first uid to give to workers, or None and why there is none."""
    if os.geteuid() != 0:
        return None, ""
    if not is_mapped(UID_MAP.read_text(encoding="ascii"), base, UIDS):
        return None, (
            f"uids {base} to {base + UIDS - 1} do not exist in this container's user namespace;"
            " set sandbox_uid_base to where they do"
        )
    return base, ""


def is_mapped(uid_map: str, base: int, count: int) -> bool:
    """Tell whether `count` uids from *base* on exist here (user_namespaces(7), uid_map)."""
    for line in uid_map.splitlines():
        inside, _, length = (int(word) for word in line.split())
        if inside <= base and base + count <= inside + length:
            return True
    return False


def _without_uids(outlook: Outlook, why: str) -> Outlook:
    """Take level uid away where there are no uids to give."""
    if not why:
        return outlook
    changed = {**outlook.levels, "uid": LevelOutlook(passes=False, layer="uid", detail=why)}
    return Outlook(outlook.machine, outlook.kernel, outlook.landlock_abi, changed)
