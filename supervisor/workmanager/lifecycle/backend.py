"""Which backend the service has: none beside the embedded broker, or a Dapr sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workmanager.brokers.dapr.backend import DaprBackend
    from workmanager.config import Settings
    from workmanager.dispatch.core import Core
    from workmanager.sidecar.connection import Sidecar


ENVELOPE_BYTES = 16 * 1024  # beside the data, in a request to the sidecar


def open_backend(core: Core, settings: Settings, sidecar: Sidecar | None) -> DaprBackend | None:
    """Put the backend of *settings* into force; None for the embedded one, which is always there.

    The libraries of the other are imported here, and only if it is asked for.
    """
    if sidecar is None:
        return None
    from workmanager.brokers.dapr.backend import DaprBackend
    from workmanager.dispatch.ingress import Inboxes
    from workmanager.dispatch.outbox import Outbox

    backend = DaprBackend(settings, sidecar, Inboxes(core), Outbox(core))
    core.publish_max_bytes = min(
        core.publish_max_bytes, settings.dapr_max_body * 3 // 4 - ENVELOPE_BYTES
    )  # binary data become base64
    core.broker.on_topics = backend.ingress.follow
    core.broker.why_silent = backend.ingress.why_silent
    return backend
