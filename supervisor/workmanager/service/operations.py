"""Verbs that take long: each runs in a trio task of its own and can be looked at and cancelled."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
import trio

from workmanager.errors import NotFoundError, Reason, WorkManagerError
from workmanager.model.resources import Operation, Page
from workmanager.service.views import when

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEPT = 1000  # operations that are over; the oldest are forgotten

log = structlog.get_logger()


@dataclass(slots=True)
class Running:
    """One operation; the work it does writes `progress` and `result`."""

    id: str
    kind: str
    target: str
    created_at: float
    ended_at: float | None = None
    progress: str = ""
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def view(self) -> Operation:
        """Show the operation."""
        return Operation(
            id=self.id,
            kind=self.kind,
            target=self.target,
            done=self.ended_at is not None,
            created_at=when(self.created_at),
            ended_at=when(self.ended_at) if self.ended_at is not None else None,
            progress=self.progress,
            error=self.error,
            result=self.result,
        )


class Operations:
    """The operations of this run of the service; they end with it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._all: OrderedDict[str, Running] = OrderedDict()

    def start(
        self, kind: str, target: str, work: Callable[[Running], Awaitable[None]]
    ) -> Operation:
        """Start *work*; the operation ends when it returns or raises."""
        operation = Running(uuid.uuid4().hex[:16], kind, target, time.time())
        self._all[operation.id] = operation
        over = [key for key, held in self._all.items() if held.ended_at is not None]
        for key in over[: max(0, len(self._all) - KEPT)]:
            del self._all[key]
        self._nursery.start_soon(self._run, operation, work)
        return operation.view()

    def get(self, operation_id: str) -> Operation:
        """Return one operation.

        Raises:
            NotFoundError: OPERATION_NOT_FOUND.
        """
        return self._find(operation_id).view()

    def list(self) -> Page[Operation]:
        """Return all that are kept, newest first."""
        return Page(items=[held.view() for held in reversed(self._all.values())])

    def cancel(self, operation_id: str) -> Operation:
        """Ask an operation to end early; what it has done stays done."""
        operation = self._find(operation_id)
        operation.scope.cancel()
        return operation.view()

    def _find(self, operation_id: str) -> Running:
        if operation_id not in self._all:
            raise NotFoundError(
                f"there is no operation {operation_id!r}; operations end with the service",
                reason=Reason.OPERATION_NOT_FOUND,
            )
        return self._all[operation_id]

    async def _run(self, operation: Running, work: Callable[[Running], Awaitable[None]]) -> None:
        try:
            with operation.scope:
                await work(operation)
            if operation.scope.cancelled_caught:
                operation.error = {"reason": "CANCELED", "detail": "the operation was canceled"}
        except WorkManagerError as error:
            operation.error = {"reason": error.reason.name, "detail": str(error)}
        except Exception as error:  # the border of an operation: it fails, the service goes on
            log.exception("operation_failed", kind=operation.kind, target=operation.target)
            operation.error = {"reason": "INTERNAL", "detail": f"{type(error).__name__}: {error}"}
        finally:
            operation.ended_at = time.time()
            operation.progress = ""
