"""What calls take besides names: checked in one place for both APIs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_IDS = 10_000
Word = Annotated[str | None, Field(max_length=1024)]


class Rollback(BaseModel):
    """Where to roll back to, and why."""

    model_config = ConfigDict(extra="forbid")

    version: str | None = Field(default=None, max_length=256, description="None: the one before.")
    message: str = Field(default="", max_length=4096)


class Selection(BaseModel):
    """Which dead letters: those that match all of what is given; nothing given means all."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)

    ids: list[str] | None = Field(default=None, max_length=MAX_IDS)
    worker: Word = None
    reason: Word = None
    error_type: Word = None
    event_type: Word = None


class Redrive(Selection):
    """Which dead letters go back, to which version, and how fast."""

    target_version: Word = None
    max_rate: float | None = Field(default=None, gt=0, le=1e6, description="Tasks a second.")


class Release(BaseModel):
    """The fencing token that the group shows: proof that the caller looked."""

    model_config = ConfigDict(extra="forbid")

    token: int = Field(ge=0, lt=2**63, strict=True)
