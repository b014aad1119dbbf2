"""Starting one executor: a process from the zygote, the code into it, then its READY."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
import trio

from workmanager.dispatch.outputs import MAX_TASK_BYTES
from workmanager.engines.python import interpreter_of
from workmanager.engines.registry import driver_of
from workmanager.errors import CodeError, Fault, Reason, WorkManagerError
from workmanager.executors.executor import Executor
from workmanager.executors.masking import masked, masking
from workmanager.executors.zygote import SpawnRequest
from workmanager.lifecycle.secrets import read_secrets
from workmanager.model.states import ExecutorState
from workmanager.store import queries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from itertools import count

    from workmanager.engines.driver import Prepared
    from workmanager.executors.isolation import Isolation
    from workmanager.executors.isolation.room import Room
    from workmanager.executors.listener import Listener
    from workmanager.executors.zygote import Spawned
    from workmanager.executors.zygotes import Zygotes
    from workmanager.lifecycle.egress import Egress
    from workmanager.lifecycle.record import WorkerRecord
    from workmanager.lifecycle.workshop import Workshop
    from workmanager.model.spec import WorkerSpec
    from workmanager.policy.restart import RestartBudget
    from workmanager.store.store import Store

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
LOG_BYTES_PER_ATTEMPT = 1024 * 1024


log = structlog.get_logger()


class StartError(WorkManagerError):
    """An executor did not become ready; the message says what it said or how it ended."""

    reason = Reason.BUILD_FAILED


@dataclass(slots=True)
class Launcher:
    """What starting executors needs of the service.

    Attributes:
        isolation: What executors are put into.
        budget: How many may be restarted on this host.
        workshop: What engines use to make code loadable.
        egress: Makes the requests that executors ask for.
        held: Code by digest that is not in the store yet.
        alive: Pids of all its executors that live; nobody else may reap them.
    """

    zygotes: Zygotes
    store: Store
    isolation: Isolation
    workshop: Workshop
    egress: Egress
    ids: count[int]
    budget: RestartBudget
    alive: set[int] = field(default_factory=set)
    held: dict[str, bytes] = field(default_factory=dict)

    async def start(
        self,
        record: WorkerRecord,
        version: str,
        listener: Listener,
        nursery: trio.Nursery,
    ) -> Executor:
        """Start an executor of *version* and wait until it is ready.

        The executor lives in *nursery*; if the caller is cancelled it is killed.

        Raises:
            CodeError: It refused the code, or the engine did; with file and line.
            StartError: It died, or was not ready within `timeouts.start`.
        """
        spec = record.version_spec(version)
        row = record.versions[version]
        code = self.held.get(row.code_digest)
        if code is None:
            code = await self.store.read(lambda db: queries.get_code(db, row.code_digest))
        if code is None:
            raise StartError(f"the code {row.code_digest} of version {version} is not in the store")
        secrets = read_secrets(spec, self.workshop.settings)
        prepared = await driver_of(spec.engine).prepare(spec, code, self.workshop)
        room, spawned = await self._spawn(record, spec, prepared)
        executor = Executor(
            room,
            spawned,
            masking(listener, secrets.masks()),
            worker=record.name,
            version=version,
            per_executor=spec.concurrency.per_executor,
        )
        executor.on_request = lambda request: self.egress.take(
            record.uid, spec.egress, executor, request
        )
        self.alive.add(spawned.pid)
        nursery.start_soon(self._live, executor)
        executor.load({**_package(record, spec, version, prepared), "secrets": secrets.frame()})
        try:
            with trio.move_on_after(spec.timeouts.start_s):
                await executor.settled.wait()
        except trio.Cancelled:
            executor.end("its start was called off")
            raise
        if executor.state is not ExecutorState.READY:
            raise masked(await _why_not(executor, spec.timeouts.start_s), secrets.masks())
        executor.layers = self.isolation.complete(
            executor.layers, is_grouped=room.group is not None
        )
        return executor

    async def _spawn(
        self, record: WorkerRecord, spec: WorkerSpec, prepared: Prepared
    ) -> tuple[Room, Spawned]:
        """Make an executor's surroundings and, in them, its process."""
        python = interpreter_of(spec.python)
        room = self.isolation.room(
            spec,
            worker_no=record.no,
            executor=f"{record.name}-{next(self.ids)}",
            python=python,
            paths=prepared.paths,
        )
        try:
            zygote = await self.zygotes.get(prepared.kind, prepared.packages)
            with room.members() as members:
                request = SpawnRequest(
                    id=record.uid,
                    python=python,
                    env={**environment(spec, prepared.environment), **_own_folder(room, spec)},
                    limits={},  # the sandbox sets them: they are in its profile
                    sandbox=room.profile,
                    title=f"wm:{record.name}"[:15],
                    members=members,
                )
                return room, await zygote.spawn(request)
        except BaseException:
            with trio.CancelScope(shield=True):
                await room.clear()
            raise

    async def _live(self, executor: Executor) -> None:
        try:
            await executor.live()
        except Exception:  # a fault of ours in one executor's business must stay there
            log.exception("executor_life_failed", worker=executor.worker, executor=executor.id)
        finally:
            self.alive.discard(executor.pid)
            with trio.CancelScope(shield=True):
                await executor.room.clear()


def environment(spec: WorkerSpec, engine: Mapping[str, str]) -> dict[str, str]:
    """Make an executor's environment from nothing: no variable of the service is in it."""
    base = {"PATH": SEARCH_PATH, "LANG": "C.UTF-8", "HOME": "/tmp", "TMPDIR": "/tmp"}  # noqa: S108
    return {**base, **engine, **spec.env}


def _own_folder(room: Room, spec: WorkerSpec) -> dict[str, str]:
    """Give an executor without a sandbox a folder that goes with it, if secrets will lie there."""
    if room.level != "none" or not any(secret.as_ == "file" for secret in spec.secrets):
        return {}
    folder = str(room.scratch.make(room.executor))
    return {"HOME": folder, "TMPDIR": folder}


def _package(
    record: WorkerRecord, spec: WorkerSpec, version: str, prepared: Prepared
) -> dict[str, Any]:
    return {
        **prepared.fields,
        "engine": spec.engine,
        "code": prepared.code,
        "handler": spec.handler,
        "worker": record.name,
        "workerUid": record.uid,
        "version": version,
        "group": spec.group.name if spec.group else None,
        "perExecutor": spec.concurrency.per_executor,
        "batchSize": spec.batch.size,
        "startToCloseS": spec.timeouts.start_to_close_s,
        "maxAttempts": spec.retry.maximum_attempts,
        "maxOutputs": spec.outputs.max_per_task,
        "maxOutputBytes": MAX_TASK_BYTES,
        "logLimitBytes": LOG_BYTES_PER_ATTEMPT,
        "config": {},
    }


async def _why_not(executor: Executor, limit_s: float) -> WorkManagerError:
    """Find out why an executor is not ready, and see to it that it is gone."""
    refusal = executor.refusal
    if executor.exit is None and refusal is None:
        executor.end(f"it was not ready within {limit_s:g} s")
    with trio.move_on_after(1):
        await executor.gone.wait()
    executor.end("it was refused")
    with trio.CancelScope(shield=True), trio.move_on_after(1):
        await executor.gone.wait()
    if refusal is None:
        how = executor.exit.words if executor.exit else "did not answer"
        said = "; it wrote: " + " | ".join(executor.last_lines) if executor.last_lines else ""
        return StartError(f"the executor of worker {executor.worker!r} {how}{said}")
    where = f"{refusal.file}:{refusal.line}" if refusal.line else (refusal.file or "code")
    reason = Reason.__members__.get(refusal.reason, Reason.BUILD_FAILED)
    return CodeError(
        f"{where}: {refusal.message}",
        reason=reason,
        faults=[Fault(where, refusal.message)],
        metadata={"traceback": refusal.traceback} if refusal.traceback else {},
    )
