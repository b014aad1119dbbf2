"""All rpcs by full name; complete, or the import fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.api.grpc import (  # noqa: F401 - importing registers their rpcs
    access,
    health,
    plant,
    publishing,
    streams,
    tasks,
    versions,
    workers,
)

if TYPE_CHECKING:
    from workmanager.api.grpc.rpc import Calls, Rpc

_ALL: tuple[Calls, ...] = (
    workers.calls,
    publishing.calls,
    tasks.calls,
    plant.groups,
    plant.engines,
    plant.operations,
    plant.admin,
    access.calls,
    health.calls,
)

SERVICES: tuple[str, ...] = tuple(calls.name for calls in _ALL)
RPCS: dict[str, Rpc] = {rpc.name: rpc for calls in _ALL for rpc in calls.rpcs.values()}

_missing = [f"{calls.name}/{name}" for calls in _ALL for name in calls.missing()]
if _missing:
    raise NotImplementedError(f"no function serves {', '.join(_missing)}")
