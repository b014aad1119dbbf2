"""The calls about engines, operations, logs and health."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from workmanager import __version__
from workmanager.engines import registry as engines
from workmanager.model.resources import Engine, Health, LogLine, Operation, Page
from workmanager.model.states import ExecutorState, WorkerState
from workmanager.service import cages, health, sidecars
from workmanager.service.base import Calls
from workmanager.service.conductor import ConductorMetrics
from workmanager.service.metrics import Metrics

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from workmanager.registries.dapr import DaprRegistry
    from workmanager.service.operations import Operations, Running
    from workmanager.supervisor import Supervisor
    from workmanager.telemetry.tails import Follower


class PlantCalls(Calls):
    """Everything that is not about one worker or its events.

    Attributes:
        conductor: The metrics that a Conductor worker has, for a port of their own.
    """

    def __init__(self, supervisor: Supervisor, operations: Operations) -> None:
        super().__init__(supervisor, operations)
        self._metrics = Metrics(supervisor)
        self.conductor = ConductorMetrics(supervisor)

    # -- engines, operations -----------------------------------------------------------------

    async def list_engines(self) -> Page[Engine]:
        """Return all engines."""
        return Page(items=engines.all_engines(self._sup.settings))

    async def get_engine(self, media_type: str) -> Engine:
        """Return the engine of a media type or of an alias."""
        return engines.get(media_type, self._sup.settings)

    async def get_operation(self, operation: str) -> Operation:
        """Return one operation."""
        return self._operations.get(operation)

    async def list_operations(self) -> Page[Operation]:
        """Return the operations that are kept, newest first."""
        return self._operations.list()

    async def cancel_operation(self, operation: str) -> Operation:
        """Ask an operation to end early; what it has done stays done."""
        return self._operations.cancel(operation)

    async def recover(self) -> Operation:
        """Look at every worker again: give those in BACKOFF or FAILED that should run a start."""

        async def work(operation: Running) -> None:
            woken = 0
            for keeper in list(self._keepers()):
                if keeper.state in (WorkerState.BACKOFF, WorkerState.FAILED):
                    keeper.ask(keeper.record.desired)
                    woken += 1
                else:
                    keeper.wake()
            operation.result = {"workers": len(self._sup.keepers), "started": woken}

        return self._operations.start("recover", "*", work)

    # -- logs --------------------------------------------------------------------------------

    async def logs(self, ref: str | None, *, since_seq: int = 0, tail: int = 100) -> list[LogLine]:
        """Return the last *tail* kept lines after *since_seq*, oldest first; None: all workers."""
        name = self._keeper(ref).record.name if ref is not None else None
        return self._sup.logbook.read(name, since_seq=since_seq, tail=tail)

    def tail_logs(
        self, ref: str | None, *, since_seq: int = 0
    ) -> AbstractAsyncContextManager[Follower]:
        """Follow the lines after *since_seq* in handfuls, kept ones first."""
        name = self._keeper(ref).record.name if ref is not None else None
        return self._sup.logbook.tail(name, since_seq=since_seq)

    # -- health ------------------------------------------------------------------------------

    async def health(
        self, *, verbose: bool = False, worker: str | None = None, executor: str | None = None
    ) -> Health:
        """Return the health of the service, or of one worker or executor.

        *verbose* adds a record per part; those of a worker or an executor are always there.

        Raises:
            NotFoundError: There is no such worker, or no such executor of it.
        """
        if executor is not None:
            keepers = self._keepers() if worker is None else [self._keeper(worker)]
            return health.executor_health(*health.find_executor(keepers, executor))
        if worker is not None:
            error = self._sup.core.ledger.error
            keeper = self._keeper(worker)
            more = sidecars.worker_checks(self._sup.dapr, keeper)
            return health.worker_health(keeper, store_error=str(error or ""), more=more)
        checks = self._checks()
        return Health(
            status=health.worst(checks),
            version=__version__,
            uptime_s=round(time.time() - self._sup.started_at, 3),
            checks=checks if verbose else [],
        )

    def live(self) -> bool:
        """Tell whether the loop is alive: it is, if it answers."""
        return True

    def started(self) -> bool:
        """Tell whether recovery is over."""
        return self._sup.is_recovered.is_set()

    def ready(self) -> tuple[bool, str]:
        """Tell whether calls can be served, and if not, why."""
        if not self.started():
            return False, "recovery is not over"
        if self._sup.core.is_stopping:
            return False, "the service is stopping"
        error = self._sup.core.ledger.error
        return error is None, str(error) if error is not None else ""

    async def metrics(self) -> bytes:
        """Return the metrics in the Prometheus text format."""
        return await self._metrics.render()

    def _checks(self) -> list[dict[str, Any]]:
        core = self._sup.core
        no_room = self._sup.store.writer.room_error()
        checks: list[dict[str, Any]] = [
            _check("store", core.ledger.error is None, str(core.ledger.error or ""), bad="failed"),
            _check("disk", no_room is None, str(no_room or "")),
            _check("recovery", not self._sup.faults, "; ".join(self._sup.faults)),
            _check("zygote", self._sup.zygote.pid is not None, "it is being started again"),
            _check("broker", True, f"{len(core.broker.topics())} topics"),
            *sidecars.service_checks(self._sup.dapr),
            health.check(
                "inboxes",
                "degraded" if core.inbox_bytes >= health.NEARLY * core.max_inbox_bytes else "ok",
                value=core.inbox_bytes,
                limit=core.max_inbox_bytes,
            ),
            *_registry_checks(self._sup.registry),
            health.check("workers", "ok", value=len(self._sup.keepers)),
            *cages.service_checks(self._sup.isolation, self._sup.settings.sandbox_level),
        ]
        checks += [
            _check(f"group/{lock.name}", False, lock.leases.error)
            for lock in core.locks.values()
            if lock.leases is not None and lock.leases.error
        ]
        lost = [
            executor.id
            for keeper in self._keepers()
            for executor in keeper.executors.values()
            if executor.state is ExecutorState.UNKILLABLE
        ]
        checks.append(_check("executors", not lost, f"unkillable: {', '.join(lost)}"))
        for keeper in self._keepers():
            bad = keeper.state in (WorkerState.FAILED, WorkerState.BACKOFF)
            if bad:
                checks.append(_check(f"worker/{keeper.record.name}", False, keeper.why))
        return checks


def _registry_checks(registry: DaprRegistry | None) -> list[dict[str, Any]]:
    return [_check("registry", not registry.error, registry.error)] if registry is not None else []


def _check(
    name: str, good: bool, detail: str, *, bad: Literal["degraded", "failed"] = "degraded"
) -> dict[str, Any]:
    return health.check(name, "ok" if good else bad, "" if good else detail)
