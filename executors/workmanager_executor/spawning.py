"""A request to the zygote: what it may say, checked before anything is forked.

request = one SEQPACKET message, a msgpack map, with descriptors attached
          [events, control, stdout, stderr, cgroup.procs of each cgroup to join ...]
reply   = msgpack map {"id", "pid"} or {"id", "error"}
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workmanager_executor.packing import unpack

if TYPE_CHECKING:
    from typing import Dict

    Limits = Dict[str, int]

CHANNELS = 4
MAX_DESCRIPTORS = 8
MAX_ERROR_CHARS = 500
MAX_ID_CHARS = 200
LIMIT_NAMES = frozenset(
    ("memoryBytes", "files", "processes", "fileSizeBytes", "cpuSeconds", "coreBytes")
)


class RequestError(Exception):
    """The request is malformed; the zygote answers with this text and goes on."""

    def __init__(self, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


@dataclass(frozen=True)
class SpawnRequest:
    """One executor to start.

    Attributes:
        python: Absolute path of another interpreter; None for the zygote's own.
        env: The whole environment of the executor.
        limits: Resource limits by the names in `LIMIT_NAMES`.
        sandbox: Profile for `sandbox.enter`; empty means no sandbox.
        cwd: Working directory; None means the root folder.
        title: Name of the process in ps, first 15 bytes.
    """

    id: str
    python: str | None
    env: dict[str, str]
    limits: Limits
    sandbox: dict[str, object]
    cwd: str | None
    title: str


def parse_request(message: bytes, descriptor_count: int) -> SpawnRequest:
    """Return the request in *message*.

    Raises:
        RequestError: It is malformed; carries the request's id if that could be read.
    """
    try:
        fields = unpack(message)
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestError(f"request is not msgpack: {error}") from None
    if not isinstance(fields, dict):
        raise RequestError("request is not a map")
    request_id = fields.get("id")
    if not isinstance(request_id, str) or len(request_id) > MAX_ID_CHARS:
        raise RequestError("request has no id")
    try:
        return _checked(request_id, fields, descriptor_count)
    except (ValueError, TypeError) as error:
        raise RequestError(str(error), request_id) from None


def _checked(request_id: str, fields: dict[str, object], descriptor_count: int) -> SpawnRequest:
    if fields.get("op") != "spawn":
        raise ValueError(f"unknown op {fields.get('op')!r}")
    if descriptor_count < CHANNELS:
        raise ValueError(f"{descriptor_count} descriptors attached, {CHANNELS} needed")
    python = _text(fields, "python")
    if python is not None and not os.path.isabs(python):
        raise ValueError(f"python: {python!r} is not an absolute path")
    return SpawnRequest(
        id=request_id,
        python=python,
        env=_env(fields),
        limits=_limits(fields),
        sandbox=_mapping(fields, "sandbox"),
        cwd=_text(fields, "cwd"),
        title=_text(fields, "title") or "wm-executor",
    )


def _text(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise ValueError(f"{name}: a text without NUL is needed")
    return value


def _mapping(fields: dict[str, object], name: str) -> dict[str, object]:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name}: a map is needed")  # noqa: TRY004 - one kind of fault here
    return value


def _env(fields: dict[str, object]) -> dict[str, str]:
    env: dict[str, str] = {}
    for name, value in _mapping(fields, "env").items():
        if not isinstance(value, str) or "\0" in name + value or "=" in name or not name:
            raise ValueError(f"env: {name!r} is not a valid variable")
        env[name] = value
    return env


def _limits(fields: dict[str, object]) -> Limits:
    limits: Limits = {}
    for name, value in _mapping(fields, "limits").items():
        if name not in LIMIT_NAMES:
            raise ValueError(f"limits: {name!r} is unknown")
        if value is None:
            continue
        if type(value) is not int or value < 0:
            raise ValueError(f"limits: {name}: a whole number >= 0 is needed")
        limits[name] = value
    return limits
