"""A reload: the settings are read again, and those that can change in a running service do.

Everything else (addresses, TLS, the state folder) is told in the log and waits for a restart. A
file with a fault changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from workmanager.api.auth import load_or_create_token
from workmanager.api.rest.bodies import Limits
from workmanager.errors import WorkManagerError
from workmanager.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.datastructures import State

    from workmanager.api.auth import Auth
    from workmanager.config import Settings
    from workmanager.service import Service

LIVE = frozenset(
    {
        "allow_http_urls",
        "allow_private_urls",
        "allowed_uids",
        "code_max_bytes",
        "fetch_timeout_s",
        "history_age_s",
        "history_tasks",
        "inbox_total_bytes",
        "log_level",
        "log_worker_lines",
        "secrets_dir",
        "shutdown_grace_s",
    }
)

log = structlog.get_logger()


@dataclass(slots=True)
class Reloader:
    """Changes a running service to what its settings say now.

    Attributes:
        load: Reads the settings anew, from where they came at the start.
        settings: Those in force.
        rest: The state of the REST application, which holds its limits.
    """

    load: Callable[[], Settings]
    settings: Settings
    service: Service
    auth: Auth
    rest: State

    def reload(self) -> str:
        """Take on what can be taken on; returns what was done, in words for people."""
        try:
            wanted = self.load()
            token = "" if self.auth.dev else load_or_create_token(wanted.token_path)
        except WorkManagerError as error:
            log.error("reload_refused", error=str(error))  # noqa: TRY400 - no fault of ours
            return f"reload refused: {error}"
        changed = [
            name
            for name in type(wanted).model_fields
            if getattr(wanted, name) != getattr(self.settings, name)
        ]
        later = [name for name in changed if name not in LIVE]
        self.auth.token = token
        self._take(wanted, [name for name in changed if name in LIVE])
        if later:
            log.warning("settings_need_restart", settings=later)
        log.info("reloaded", changed=[name for name in changed if name in LIVE])
        return f"reloaded; restart for {', '.join(later)}" if later else "reloaded"

    def _take(self, wanted: Settings, names: list[str]) -> None:
        update = {name: getattr(wanted, name) for name in names}
        self.settings = settings = self.settings.model_copy(update=update)
        self.service.reconfigure(settings)
        self.auth.allowed_uids = frozenset(settings.allowed_uids)
        self.rest.limits = Limits.for_code(settings.code_max_bytes)
        logs.set_level(settings.log_level)
