"""The one place where every API call lands; REST and the command line are thin over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.service.access import AccessCalls
from workmanager.service.dead_letters import DeadLetterCalls
from workmanager.service.events import EventCalls
from workmanager.service.groups import GroupCalls
from workmanager.service.idempotency import StoredAnswers
from workmanager.service.observer import Observer
from workmanager.service.operations import Operations
from workmanager.service.plant import PlantCalls
from workmanager.service.sharing import SharingCalls
from workmanager.service.tasks import TaskCalls
from workmanager.service.watching import WatchCalls

if TYPE_CHECKING:
    import trio

    from workmanager.config import Settings
    from workmanager.supervisor import Supervisor

__all__ = ["Service"]


class Service(
    SharingCalls,
    EventCalls,
    TaskCalls,
    DeadLetterCalls,
    GroupCalls,
    PlantCalls,
    WatchCalls,
    AccessCalls,
):
    """All calls; each group of them stands in a module of its own.

    Args:
        nursery: Runs the operations; cancelled after the doors are closed.
    """

    def __init__(self, supervisor: Supervisor, nursery: trio.Nursery) -> None:
        super().__init__(supervisor, Operations(nursery))
        self._observer = Observer(supervisor, nursery)
        self.answers = StoredAnswers(supervisor)

    def reconfigure(self, settings: Settings) -> None:
        """Take on settings that may change while the service runs."""
        self._sup.reconfigure(settings)
