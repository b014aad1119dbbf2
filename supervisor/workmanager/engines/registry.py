"""Which engines there are, and whether they can run here."""

from __future__ import annotations

from workmanager.engines import python
from workmanager.errors import NotFoundError, Reason, WorkManagerError
from workmanager.model.names import canonical_engine
from workmanager.model.resources import Engine

_DOTNET = "this version runs Python workers only; .NET workers are planned, see the changelog"


def all_engines() -> list[Engine]:
    """Return every engine this version knows."""
    return [
        python.describe(),
        Engine(media_type="text/x-csharp", available=False, detail=_DOTNET),
        Engine(
            media_type="text/x-dll",
            aliases=["application/x-dotnet-dll"],
            available=False,
            detail=_DOTNET,
        ),
    ]


def get(media_type: str) -> Engine:
    """Return the engine of a media type or an alias.

    Raises:
        NotFoundError: There is none (ENGINE_NOT_FOUND).
    """
    wanted = canonical_engine(media_type)
    for engine in all_engines():
        if engine.media_type == wanted:
            return engine
    raise NotFoundError(
        f"there is no engine for {media_type!r}; use one of"
        f" {', '.join(engine.media_type for engine in all_engines())}",
        reason=Reason.ENGINE_NOT_FOUND,
    )


def require(media_type: str) -> Engine:
    """Return the engine of a media type, which must be able to run here.

    Raises:
        NotFoundError: There is none (ENGINE_NOT_FOUND).
        WorkManagerError: It cannot run here (ENGINE_UNAVAILABLE).
    """
    engine = get(media_type)
    if not engine.available:
        raise WorkManagerError(
            f"the engine {engine.media_type} cannot run here: {engine.detail}",
            reason=Reason.ENGINE_UNAVAILABLE,
        )
    return engine
