"""The nurseries: who owns which trio task, how a start recovers, how a stop ends.

    Supervisor.run
      zygote, timers, reaper, upkeep      (for as long as anything runs)
      keepers                             (one per worker; each owns its executors)

A start reads the store, rebuilds every worker with its open tasks, and only then lets keepers start
executors. A stop closes intake, drains the keepers, and writes what they still had to say.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import structlog
import trio
from pydantic import ValidationError

from workmanager.brokers.embedded import EmbeddedBroker
from workmanager.dispatch import finish, intake, membership, routing
from workmanager.dispatch.core import LEASE_KEY, Core
from workmanager.dispatch.handout import pump
from workmanager.dispatch.ledger import Ledger
from workmanager.dispatch.timers import Timers
from workmanager.dispatch.worker import WorkerDispatch
from workmanager.executors.isolation import Isolation, open_isolation
from workmanager.executors.strays import Strays
from workmanager.executors.zygote import Zygote, become_subreaper
from workmanager.executors.zygotes import Zygotes
from workmanager.groups.claims import Claims
from workmanager.groups.cluster import Cluster, Shared, free_former, open_shared
from workmanager.lifecycle.backend import open_backend
from workmanager.lifecycle.egress import Egress
from workmanager.lifecycle.keeper import Keeper
from workmanager.lifecycle.launch import Launcher
from workmanager.lifecycle.quotas import hold_quotas
from workmanager.lifecycle.record import WorkerRecord
from workmanager.lifecycle.restore import restore_dedupe, restore_tasks
from workmanager.lifecycle.upkeep import look_after
from workmanager.lifecycle.workshop import Workshop
from workmanager.policy.restart import RestartBudget
from workmanager.registries.dapr import EPOCH_KEY, DaprRegistry
from workmanager.store import queries, statements
from workmanager.store.open import open_store
from workmanager.store.recovery import recover
from workmanager.store.trim import Retention
from workmanager.telemetry.exporting import open_sender, open_tracer
from workmanager.telemetry.logbook import LogBook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workmanager.brokers.dapr.backend import DaprBackend
    from workmanager.config import Settings
    from workmanager.sidecar.connection import Sidecar
    from workmanager.store.recovery import Recovered
    from workmanager.store.rows import VersionRow
    from workmanager.store.store import Store
    from workmanager.telemetry.exporting import SpanSender

LONGEST_DEDUPE_S = 366 * 86_400.0  # the longest window a worker may have; keys are trimmed by count

UNLOCK_S = 1.0  # how long the end waits for the sidecar to open this host's locks

log = structlog.get_logger()


class Supervisor:
    """Owns everything that runs; made by the daemon, used by the service.

    Attributes:
        host: Names this process among all hosts of its app-id.
        keepers: By worker uid.
        sidecar: The connection to Dapr; None where the backend is the embedded one, as are
            `shared`, the stores behind it, and `registry`, what all hosts declare.
        faults: What a start could not read and put aside.
        dapr: What events come in and go out by; None with the embedded broker.
        is_recovered: Set once every worker and task of the store is in place.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started_at = time.time()
        self.host = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self.logbook = LogBook(echo=settings.log_worker_lines)
        self.keepers: dict[str, Keeper] = {}
        self.faults: list[str] = []
        self.is_recovered = trio.Event()
        self.zygote = Zygote()
        self.zygotes: Zygotes
        self.isolation: Isolation
        self.spans: SpanSender | None = None
        self.sidecar: Sidecar | None = None
        self.shared: Shared | None = None
        self.registry: DaprRegistry | None = None
        self.dapr: DaprBackend | None = None
        self.store: Store
        self.core: Core
        self._launcher: Launcher
        self._plant: trio.Nursery  # of all that is no keeper's
        self._keepers_nursery: trio.Nursery
        self._worker_numbers = count(1)
        self._stop = trio.Event()

    # -- life --------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Recover, run until `stop` is called, then drain and close the store.

        Raises:
            IsolationError: The sandbox that the settings require cannot be had.
            StateFolderError: The state folder cannot be used.
        """
        become_subreaper()
        self.isolation = open_isolation(self.settings)  # blocking: nothing else runs as yet
        async with trio.open_nursery() as nursery:
            await nursery.start(self.zygote.run)  # before any thread exists
            self._plant = nursery
            self.zygotes = Zygotes(self.zygote, nursery)
            self.store = open_store(self.settings.state)
            self.isolation.scratch.clear()
            try:
                await self._serve(nursery, task_status)
            finally:
                await self.store.aclose()
                if self.spans is not None:
                    await self.spans.aclose()
            nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Ask `run` to drain and return."""
        self._stop.set()

    def reconfigure(self, settings: Settings) -> None:
        """Take on settings that may change while the service runs."""
        self.settings = settings
        self.logbook.is_echoed = settings.log_worker_lines
        self.store.writer.retention = _retention(settings)
        self.core.max_inbox_bytes = settings.inbox_total_bytes

    async def _serve(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        recovered = await recover(self.store, dedupe_s=LONGEST_DEDUPE_S)
        held: dict[str, str] = {}
        if self.settings.is_dapr:
            from workmanager.sidecar.stores import SidecarState

            self.sidecar = await self._open_sidecar(nursery)
            self.shared = open_shared(self.sidecar, self.settings)
            epoch = await self.store.read(lambda db: queries.get_meta(db, EPOCH_KEY))
            held = await self.store.read(lambda db: queries.list_meta(db, LEASE_KEY))
            own = SidecarState(self.sidecar, self.settings.dapr_state_store, is_own=True)
            self.registry = DaprRegistry(own, epoch=epoch or "")
        self._build_core(recovered)
        nursery.start_soon(self.core.timers.run)
        nursery.start_soon(self._make_strays().run)
        nursery.start_soon(look_after, self.keepers.values)
        nursery.start_soon(hold_quotas, self.keepers.values)
        async with trio.open_nursery() as self._keepers_nursery:
            await self._restore(recovered)
            if self.dapr is not None:
                await self._keepers_nursery.start(self.dapr.run)
                self._keepers_nursery.start_soon(free_former, self.core.cluster, held)
            self.is_recovered.set()
            task_status.started()
            await self._stop.wait()
            await self._drain()
            self._keepers_nursery.cancel_scope.cancel()
        await self._write_rest()

    async def _open_sidecar(self, nursery: trio.Nursery) -> Sidecar:
        from workmanager.sidecar.address import find_address
        from workmanager.sidecar.connection import Sidecar

        given, ca = self.settings.dapr_grpc_address, self.settings.dapr_tls_ca
        sidecar = Sidecar(find_address(given, os.environ, ca=ca))
        await nursery.start(sidecar.run)
        return sidecar

    async def _drain(self) -> None:
        """Let what runs finish within the grace period; the rest goes back to the store."""
        self.core.is_stopping = True
        with trio.move_on_after(self.settings.shutdown_grace_s):
            async with trio.open_nursery() as nursery:
                if self.dapr is not None:
                    nursery.start_soon(self.dapr.close)
                for keeper in self.keepers.values():
                    nursery.start_soon(keeper.stop_for_shutdown)

    async def _write_rest(self) -> None:
        with trio.move_on_after(5, shield=True) as scope:
            await self.core.ledger.drained()
        if scope.cancelled_caught:
            log.error("outcomes_not_written", error=str(self.core.ledger.error))
        if self.sidecar is not None and self.sidecar.is_up:  # else the locks go by themselves
            with trio.move_on_after(UNLOCK_S):
                await membership.give_leases_back(self.core)

    # -- start -------------------------------------------------------------------------------

    def _build_core(self, recovered: Recovered) -> None:
        timers = Timers()
        self.store.writer.retention = _retention(self.settings)
        ledger = Ledger(
            self.store.writer,
            timers,
            next_segment=recovered.next_segment,
            deliver=lambda tasks: intake.deliver(self.core, tasks),
        )
        self.core = Core(ledger, timers, EmbeddedBroker(), self.logbook.note, self._make_cluster())
        self.core.max_inbox_bytes = self.settings.inbox_total_bytes
        ledger.on_refused = lambda batch: routing.take_back(self.core, batch)
        ledger.on_heal = self._pump_all
        self.spans = open_sender(os.environ)
        self.core.tracer = self.logbook.tracer = open_tracer(self.spans, os.environ)
        self.core.cluster.notes = self.core
        self.core.weigh()
        self.dapr = open_backend(self.core, self.settings, self.sidecar)
        if self.dapr is not None:
            self.dapr.ingress.registry = self.registry
            self.dapr.ingress.claims = Claims(self.shared.state, self.host) if self.shared else None
        self._launcher = self._make_launcher()
        self._worker_numbers = count(recovered.next_worker)
        self.core.fences = dict(recovered.fences)
        self.faults = list(recovered.faults)

    def _make_cluster(self) -> Cluster:
        """Make what groups exclude other hosts with; without a sidecar there are none."""
        return Cluster(self.shared, self.host, self._plant)

    def _make_strays(self) -> Strays:
        return Strays(
            lambda: self._launcher.alive | self.zygotes.pids, lambda: self.zygotes.is_spawning
        )

    def _make_launcher(self) -> Launcher:
        alive: set[int] = set()
        workshop = Workshop(
            lambda: self.settings,
            self.settings.state / "cache",
            self.zygotes,
            self.isolation,
            nursery=self._plant,
            alive=alive,
        )
        workshop.tidy()
        return Launcher(
            self.zygotes,
            self.store,
            self.isolation,
            workshop,
            Egress(lambda: self.settings, self._plant),
            count(1),
            RestartBudget(self.settings.restarts_per_second, self.settings.restarts_per_minute),
            alive,
        )

    async def _restore(self, recovered: Recovered) -> None:
        began = time.perf_counter()
        versions: dict[int, dict[str, VersionRow]] = {}
        for version in recovered.versions:
            versions.setdefault(version.worker_no, {})[version.id] = version
        for row in recovered.workers:
            if row.deleted_at is not None:  # a crash came between: its deletion is finished now
                self.core.ledger.write(statements.delete_worker(row.no))
                continue
            try:
                record = WorkerRecord.from_row(row)
            except ValidationError as error:
                self.faults.append(
                    f"worker {row.name!r} cannot be read: {error.error_count()} faults"
                )
                log.exception("worker_not_restored", worker=row.name)
                continue
            record.versions = versions.get(row.no, {})
            self.declare(self._add(record))
        restore_dedupe(self.core, recovered)  # first: tasks may bring new deliveries
        tasks = restore_tasks(self.core, recovered)
        await self.count_dead_letters()
        self.core.ledger.flush()
        for keeper in self.keepers.values():
            await self._keepers_nursery.start(keeper.run)
        log.info(
            "recovered",
            workers=len(self.keepers),
            tasks=tasks,
            took_ms=round((time.perf_counter() - began) * 1000),
            faults=self.faults,
        )

    # -- workers -----------------------------------------------------------------------------

    def next_worker_number(self) -> int:
        """Return a number no worker ever had."""
        return next(self._worker_numbers)

    async def add(self, record: WorkerRecord) -> Keeper:
        """Take on a worker that is not declared yet: nothing is subscribed or started for it."""
        keeper = self._add(record)
        await self._keepers_nursery.start(keeper.run)
        return keeper

    def declare(self, keeper: Keeper) -> None:
        """Put a worker into force whose rows are durable: subscribe it and let it serve."""
        membership.join(self.core, keeper.dispatch)
        self.core.broker.subscribe(keeper.dispatch)
        keeper.is_declared = True
        keeper.wake()
        self._tell(keeper)

    @contextmanager
    def holding(self, digest: str, code: bytes | None) -> Iterator[None]:
        """Have *code* at hand for executors while it is not in the store yet."""
        if code is not None:
            self._launcher.held[digest] = code
        try:
            yield
        finally:
            self._launcher.held.pop(digest, None)

    def configure(self, keeper: Keeper) -> None:
        """Put the record's specification into force: subscriptions, policies, group."""
        dispatch = keeper.dispatch
        dispatch.configure(keeper.record.spec)
        membership.rejoin(self.core, dispatch)
        self.core.broker.subscribe(dispatch)
        for executor in keeper.executors.values():
            executor.room.weigh(dispatch.spec.resources)
        if not dispatch.is_full():
            finish.unblock(dispatch)
        keeper.wake()
        pump(self.core, dispatch)
        self._tell(keeper)

    async def remove(self, keeper: Keeper, *, drain: bool) -> None:
        """End a worker and forget its tasks; its rows are the caller's."""
        dispatch = keeper.dispatch
        self.core.broker.unsubscribe(dispatch)
        await keeper.delete(drain=drain)
        membership.leave(self.core, dispatch)
        self.core.workers.pop(dispatch.no, None)
        for inbox in (dispatch.inbox, *dispatch.sides.values()):
            intake.drop(self.core, list(inbox.tasks()))
        finish.unblock(dispatch)
        for consumer in dispatch.blocked_by:
            consumer.blocks.discard(dispatch)
        if self.core.watch is not None:
            self.core.watch.worker_gone(keeper.record.uid)
        self.keepers.pop(keeper.record.uid, None)
        self.logbook.forget(keeper.record.name)
        self.core.ledger.flush()

    def _tell(self, keeper: Keeper) -> None:
        if self.core.watch is not None:
            self.core.watch.worker_changed(keeper.record.uid)

    def _add(self, record: WorkerRecord) -> Keeper:
        dispatch = WorkerDispatch(record.no, record.uid, record.name, record.spec)
        self.core.workers[record.no] = dispatch
        keeper = Keeper(self.core, record, dispatch, self._launcher)
        self.keepers[record.uid] = keeper
        return keeper

    def _pump_all(self) -> None:
        for worker in list(self.core.workers.values()):
            pump(self.core, worker)

    async def count_dead_letters(self) -> None:
        """Take the number of dead letters of each worker from the store."""
        counts = await self.store.read(queries.count_dead_letters)
        for number, worker in self.core.workers.items():
            worker.dead_letters = counts.get(number, 0)


def _retention(settings: Settings) -> Retention:
    return Retention(
        history_tasks=settings.history_tasks,
        history_s=settings.history_age_s,
        dedupe_s=LONGEST_DEDUPE_S,
    )
