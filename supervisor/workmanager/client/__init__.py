"""Client of the service for programs and for the command line.

`WorkManagerClient` and `AsyncWorkManagerClient` (trio or asyncio) have the same methods and typed
results, over REST or gRPC as their target says. `workmanager.client.light` is what the command line
uses. What is imported only when it is used keeps `import workmanager.client` light.
"""

from typing import TYPE_CHECKING

from workmanager.client.events import new_event
from workmanager.client.problems import (
    ClientError,
    ClientTimeoutError,
    ConnectionLostError,
    NoSupervisorError,
    ProblemError,
    RequestHeaderError,
)
from workmanager.client.tls import Tls

if TYPE_CHECKING:
    from workmanager.client.aio import AsyncWorkManagerClient
    from workmanager.client.typed import WorkManagerClient

__all__ = [
    "AsyncWorkManagerClient",
    "ClientError",
    "ClientTimeoutError",
    "ConnectionLostError",
    "NoSupervisorError",
    "ProblemError",
    "RequestHeaderError",
    "Tls",
    "WorkManagerClient",
    "new_event",
]

_LAZY = {"AsyncWorkManagerClient": "aio", "WorkManagerClient": "typed"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
