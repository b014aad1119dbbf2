"""Which engines there are, and whether they can run here.

Ours are known by name; more come from installed packages, by the entry point group
`workmanager.engines`, each a `driver.Driver`. A plug-in that cannot be imported is left out with a
line in the log; one must not keep the others from running.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module, metadata
from typing import TYPE_CHECKING, cast

import structlog

from workmanager.errors import NotFoundError, Reason, WorkManagerError
from workmanager.model.names import canonical_engine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workmanager.config import Settings
    from workmanager.engines.driver import Driver
    from workmanager.model.resources import Engine

GROUP = "workmanager.engines"
OWN = ("python", "csharp", "dll")

log = structlog.get_logger()


def all_engines(settings: Settings) -> list[Engine]:
    """Return every engine this installation knows."""
    return [driver.describe(settings) for driver in drivers().values()]


def get(media_type: str, settings: Settings) -> Engine:
    """Return the engine of a media type or an alias.

    Raises:
        NotFoundError: There is none (ENGINE_NOT_FOUND).
    """
    return driver_of(media_type).describe(settings)


def require(media_type: str, settings: Settings) -> Engine:
    """Return the engine of a media type, which must be able to run here.

    Raises:
        NotFoundError: There is none (ENGINE_NOT_FOUND).
        WorkManagerError: It cannot run here (ENGINE_UNAVAILABLE).
    """
    engine = get(media_type, settings)
    if not engine.available:
        raise WorkManagerError(
            f"the engine {engine.media_type} cannot run here: {engine.detail}",
            reason=Reason.ENGINE_UNAVAILABLE,
        )
    return engine


def driver_of(media_type: str) -> Driver:
    """Return what makes code of a media type or an alias loadable.

    Raises:
        NotFoundError: There is none (ENGINE_NOT_FOUND).
    """
    found = drivers().get(canonical_engine(media_type))
    if found is None:
        raise NotFoundError(
            f"there is no engine for {media_type!r}; use one of {', '.join(drivers())}",
            reason=Reason.ENGINE_NOT_FOUND,
        )
    return found


@lru_cache(maxsize=1)
def drivers() -> Mapping[str, Driver]:
    """Return the engines by media type: ours first, then those of plug-ins, which replace none."""
    own = [cast("Driver", import_module(f"workmanager.engines.{name}")) for name in OWN]
    found = {driver.media_type: driver for driver in own}
    for point in metadata.entry_points(group=GROUP):
        try:
            driver = cast("Driver", point.load())
            media_type = driver.media_type
        except Exception:  # foreign code, at its import
            log.exception("engine_not_loaded", entry_point=point.value)
            continue
        found.setdefault(media_type, driver)
    return found
