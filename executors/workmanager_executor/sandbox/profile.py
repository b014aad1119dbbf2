"""The profile: what the supervisor asks of one executor's sandbox."""

from __future__ import annotations

import os
import sys
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

from .errors import SandboxError

LEVELS = ("none", "basic", "full", "uid")  # weakest first
NETWORKS = ("none", "loopback", "ports", "full")
ENGINES = ("python", "dotnet")

PRIVATE_SCRATCH = "/tmp"  # noqa: S108 - in the private tree, its own tmpfs
NOBODY = 65534

_T = TypeVar("_T")


class Profile(NamedTuple):
    """A checked profile, hashable. The fields of the spawn request, in snake case."""

    level: str
    network: str
    ports: Tuple[int, ...]
    subprocess_allowed: bool
    read_paths: Tuple[str, ...]
    runtime_paths: Tuple[str, ...]
    foreign_paths: Tuple[str, ...]  # of another interpreter, which is exec'd after enter()
    scratch_bytes: int
    scratch_inodes: int
    scratch_path: Optional[str]  # the writable directory of level basic; None: nothing is writable
    uid: Optional[int]
    gid: Optional[int]
    limits: Tuple[Tuple[str, Optional[int]], ...]
    engine: str
    required: Tuple[str, ...]

    @property
    def has_namespaces(self) -> bool:
        """The executor gets its own tree, pids, ipc and host name."""
        return self.level in ("full", "uid")

    @property
    def has_own_network(self) -> bool:
        """The executor gets a network of its own, with nothing in it but lo."""
        return self.has_namespaces and self.network in ("none", "loopback")

    @property
    def exec_comes_later(self) -> bool:
        """One execve must still pass after enter(): seal() closes it."""
        return bool(self.foreign_paths) and not self.subprocess_allowed


def parse(fields: Mapping[str, object]) -> Profile:
    """Check the map of the spawn request.

    Raises:
        SandboxError: A field is unknown or makes no sense; the layer is "profile".
    """
    unknown = sorted(set(fields) - set(_KNOWN))
    if unknown:
        raise SandboxError("profile", f"unknown fields: {', '.join(unknown)}")
    profile = Profile(
        level=_word(fields, "level", LEVELS, default="full"),
        network=_word(fields, "network", NETWORKS, default="none"),
        ports=tuple(_integers(fields, "ports")),
        subprocess_allowed=_word(fields, "subprocess", ("deny", "allow"), default="deny")
        == "allow",
        read_paths=tuple(_paths(fields, "readPaths")),
        runtime_paths=tuple(_paths(fields, "runtimePaths") or own_runtime_paths()),
        foreign_paths=tuple(_paths(fields, "python")),
        scratch_bytes=_integer(fields, "scratchBytes", default=64 << 20),
        scratch_inodes=_integer(fields, "scratchInodes", default=2048),
        scratch_path=_path(fields, "scratchPath"),
        uid=_optional_id(fields, "uid"),
        gid=_optional_id(fields, "gid"),
        limits=_limits(fields),
        engine=_word(fields, "engine", ENGINES, default="python"),
        required=tuple(_strings(fields, "required")),
    )
    _check_sense(profile)
    return profile


def own_runtime_paths() -> List[str]:
    """What this interpreter needs in order to go on importing: its prefixes and sys.path."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    wanted = [sys.base_prefix, sys.prefix, package, *sys.path]
    environment = os.path.dirname(os.path.dirname(sys.executable or ""))
    if os.path.exists(os.path.join(environment, "pyvenv.cfg")):  # -S leaves it out of the prefixes
        wanted.append(environment)
    return [path for path in dict.fromkeys(wanted) if os.path.isabs(path) and path != "/"]


_KNOWN = (
    "level",
    "network",
    "ports",
    "subprocess",
    "readPaths",
    "runtimePaths",
    "python",
    "scratchBytes",
    "scratchInodes",
    "scratchPath",
    "uid",
    "gid",
    "limits",
    "engine",
    "required",
)

_LIMITS = (
    "memoryBytes",
    "addressSpaceBytes",
    "files",
    "processes",
    "fileSizeBytes",
    "cpuSeconds",
    "coreBytes",
)


def _check_sense(profile: Profile) -> None:
    if profile.network == "loopback" and not profile.has_namespaces:
        raise SandboxError("network", "loopback needs its own network: level full or uid")
    if profile.ports and profile.network != "ports":
        raise SandboxError("profile", "ports are only of use with network: ports")
    if any(not 0 < port < 65536 for port in profile.ports):
        raise SandboxError("profile", "ports must be 1..65535")
    if profile.scratch_bytes <= 0 or profile.scratch_inodes <= 0:
        raise SandboxError("profile", "scratchBytes and scratchInodes must be positive")
    if profile.level == "uid" and not profile.uid:
        raise SandboxError("uid", "level uid needs an unprivileged uid")


def _word(fields: Mapping[str, object], name: str, allowed: Sequence[str], *, default: str) -> str:
    value = _typed(fields, name, str, default)
    if value not in allowed:
        raise SandboxError("profile", f"{name}: {value!r} is none of {', '.join(allowed)}")
    return value


def _typed(fields: Mapping[str, object], name: str, kind: type[_T], default: _T) -> _T:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SandboxError("profile", f"{name}: not of type {kind.__name__}")
    return value


def _integer(fields: Mapping[str, object], name: str, *, default: int) -> int:
    return _typed(fields, name, int, default)


def _optional_id(fields: Mapping[str, object], name: str) -> Optional[int]:
    value = _integer(fields, name, default=-1)
    return None if value < 0 else value


def _list(fields: Mapping[str, object], name: str, kind: type[_T]) -> List[_T]:
    values = fields.get(name)
    if values is None:
        return []
    if not isinstance(values, (list, tuple)) or not all(isinstance(item, kind) for item in values):
        raise SandboxError("profile", f"{name}: not a list of {kind.__name__}")
    return list(values)


def _strings(fields: Mapping[str, object], name: str) -> List[str]:
    return _list(fields, name, str)


def _integers(fields: Mapping[str, object], name: str) -> List[int]:
    return _list(fields, name, int)


def _paths(fields: Mapping[str, object], name: str) -> List[str]:
    paths = _strings(fields, name)
    for path in paths:
        _check_path(name, path)
    return paths


def _path(fields: Mapping[str, object], name: str) -> Optional[str]:
    value = _typed(fields, name, str, "")
    if value:
        _check_path(name, value)
    return value or None


def _check_path(name: str, path: str) -> None:
    """A path that would show the host's whole tree, /proc or /sys is a mistake, not a wish."""
    normal = os.path.normpath(path)
    if not os.path.isabs(path) or "\0" in path:
        raise SandboxError("profile", f"{name}: {path!r} is not absolute")
    if normal in ("/", "//") or normal.split("/")[1] in ("proc", "sys", "dev"):
        raise SandboxError("profile", f"{name}: {path!r} would void the private tree")


def _limits(fields: Mapping[str, object]) -> Tuple[Tuple[str, Optional[int]], ...]:
    limits = fields.get("limits") or {}
    if not isinstance(limits, Mapping):
        raise SandboxError("profile", "limits: not a map")
    unknown = sorted(set(limits) - set(_LIMITS))
    if unknown:
        raise SandboxError("profile", f"limits: unknown {', '.join(unknown)}")
    for name, value in limits.items():
        if value is not None and (type(value) is not int or value < 0):
            raise SandboxError("profile", f"limits.{name}: not a number of at least 0")
    return tuple(sorted(limits.items()))
