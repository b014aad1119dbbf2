"""The backend `dapr` as the supervisor sees it: made at the start, run, closed, looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from workmanager.brokers.dapr.ingress import Ingress
from workmanager.brokers.dapr.outbox import Publisher

if TYPE_CHECKING:
    from workmanager.config import Settings
    from workmanager.dispatch.ingress import Inboxes
    from workmanager.dispatch.outbox import Outbox
    from workmanager.sidecar.connection import Sidecar


class DaprBackend:
    """The connection to the sidecar, and what comes in and goes out by it."""

    def __init__(
        self, settings: Settings, sidecar: Sidecar, inboxes: Inboxes, outbox: Outbox
    ) -> None:
        self.sidecar = sidecar
        self.outbox = outbox
        self._components = (settings.dapr_pubsub, settings.dapr_state_store)
        self.ingress = Ingress(
            self.sidecar, inboxes, pubsub=settings.dapr_pubsub, silence_s=settings.dapr_silence_s
        )
        self.publisher = Publisher(
            self.sidecar, outbox, settings.dapr_pubsub, on_published=self.ingress.published
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Publish and listen until cancelled; `close` comes first."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.ingress.run)
            nursery.start_soon(self.publisher.run)
            task_status.started()

    def missing_components(self) -> list[str]:
        """Return the components that the settings name and the sidecar does not have."""
        there = {each.name for each in self.sidecar.metadata.registered_components}
        return [] if not self.sidecar.is_up else [n for n in self._components if n not in there]

    async def close(self) -> None:
        """Stop listening, drained where the sidecar is there; publishing goes on."""
        await self.ingress.close()
