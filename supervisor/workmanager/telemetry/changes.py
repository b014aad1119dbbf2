"""Changes, as they go out to those who watch: encoded once, told in batches.

token = <start of this service> "-" <number of the change>
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from workmanager.telemetry.bundles import Bundle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel


class Kind(Enum):
    """What can be watched: the word of a call, and the word (and field) of a change."""

    WORKERS = ("workers", "worker")
    EXECUTORS = ("executors", "executor")
    TASKS = ("tasks", "task")
    DEAD_LETTERS = ("deadLetters", "deadLetter")

    @property
    def plural(self) -> str:
        """How a call asks for it."""
        return self.value[0]

    @property
    def field(self) -> str:
        """How a change names it."""
        return self.value[1]


ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"


@dataclass(slots=True, eq=False)
class Change:
    """One change, as it goes out.

    Attributes:
        seq: Its number; 0 for what a list begins with.
        token: Goes on after it; empty where a list is not told to its end yet.
        worker: The worker it is about, by which watchers filter.
        json: The change in the form of REST.
        encoded: The same in another form, made by whoever needs it first.
    """

    seq: int
    type: str
    kind: Kind | None
    token: str
    worker: str = ""
    resource: BaseModel | None = None
    json: bytes = b""
    encoded: bytes | None = None

    def __post_init__(self) -> None:
        """Encode it; everything of it but the resource is plain ASCII."""
        kind = self.kind.field if self.kind is not None else ""
        head = f'{{"type":"{self.type}","kind":"{kind}","resumeToken":"{self.token}"'
        if self.resource is None:
            self.json = f"{head}}}".encode()
            return
        body = self.resource.model_dump_json(by_alias=True)
        self.json = f'{head},"{kind}":{body}}}'.encode()


class Batch(Bundle[Change]):
    """Changes that are told together, to everybody who asked for the same."""

    __slots__ = ("_json",)

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        super().__init__(changes)
        self._json: str | None = None

    @staticmethod
    def weigh(item: Change) -> int:
        """Return the length of a change in the form of REST."""
        return len(item.json)

    @property
    def json(self) -> str:
        """All changes in the form of REST, with commas between them."""
        if self._json is None:
            self._json = b",".join(change.json for change in self).decode()
        return self._json
