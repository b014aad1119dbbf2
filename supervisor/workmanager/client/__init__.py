"""Client of the service for programs and for the command line.

Plain dictionaries come back, in the shape of `workmanager.model.resources`: importing pydantic
would cost the command line more than all of its other work.
"""

from workmanager.client.client import WorkManagerClient
from workmanager.client.events import new_event
from workmanager.client.problems import (
    ClientError,
    ClientTimeoutError,
    ConnectionLostError,
    NoSupervisorError,
    ProblemError,
    RequestHeaderError,
)

__all__ = [
    "ClientError",
    "ClientTimeoutError",
    "ConnectionLostError",
    "NoSupervisorError",
    "ProblemError",
    "RequestHeaderError",
    "WorkManagerClient",
    "new_event",
]
