"""What every group of calls has: the supervisor, and how a worker is found by name or uid."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from workmanager.errors import NotFoundError, Reason
from workmanager.model.states import WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from sqlite3 import Connection

    from workmanager.lifecycle.keeper import Keeper
    from workmanager.service.operations import Operations
    from workmanager.supervisor import Supervisor

T = TypeVar("T")


class Calls:
    """Base of the call groups."""

    def __init__(self, supervisor: Supervisor, operations: Operations) -> None:
        self._sup = supervisor
        self._operations = operations

    def _keeper(self, ref: str) -> Keeper:
        """Return the keeper of the worker named *ref*, or of that uid.

        Raises:
            NotFoundError: There is none (WORKER_NOT_FOUND).
        """
        keeper = self._sup.keepers.get(ref)
        if keeper is None:
            keeper = next((k for k in self._keepers() if k.record.name == ref), None)
        if keeper is None or keeper.state is WorkerState.DELETING:
            raise NotFoundError(
                f"there is no worker {ref!r}; `workmanager worker list` shows those there are",
                reason=Reason.WORKER_NOT_FOUND,
                metadata={"worker": ref},
            )
        return keeper

    def worker_name(self, ref: str) -> str | None:
        """Return the name of the worker named *ref*, or of that uid; None if there is none."""
        keeper = self._sup.keepers.get(ref) or self._find(ref)
        return keeper.record.name if keeper is not None else None

    def _find(self, name: str) -> Keeper | None:
        return next((k for k in self._keepers() if k.record.name == name), None)

    async def _read(self, query: Callable[[Connection], T]) -> T:
        """Read the store as of now: what has just been settled is in it."""
        await self._sup.core.ledger.written()
        return await self._sup.store.read(query)

    def _keepers(self) -> Iterable[Keeper]:
        return self._sup.keepers.values()

    def _keeper_of_number(self, number: int) -> Keeper | None:
        return next((k for k in self._keepers() if k.record.no == number), None)
