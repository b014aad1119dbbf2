"""Every call of the service, as methods of every client: see `workmanager.api.protocol`.

A `ref` is a worker's name or its uid. Each method raises `ProblemError` where the service refuses,
and the other errors of `workmanager.client.problems` where no answer came.
"""

from workmanager.client.calls.access import AccessCalls
from workmanager.client.calls.events import EventCalls
from workmanager.client.calls.plant import PlantCalls
from workmanager.client.calls.workers import WorkerCalls


class Calls(WorkerCalls, EventCalls, PlantCalls, AccessCalls):
    """All of it."""
