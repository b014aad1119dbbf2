"""Workers come into groups and leave them: which lock a worker has, and how far that reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.dispatch.handout import pump
from workmanager.groups.leases import Leases
from workmanager.groups.local import HostLock

if TYPE_CHECKING:
    from workmanager.dispatch.core import Core
    from workmanager.dispatch.task import Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor
    from workmanager.groups.lease import Lease
    from workmanager.model.spec_delivery import Group

REVOKED_EXIT = "its group was released by an operator"
LEASE_EXIT = "its group's lease ran out"
LEASE_LOST = ("LeaseLost", "the group's lease ran out before the outcome came")  # of a span


def join(core: Core, worker: WorkerDispatch) -> None:
    """Give the worker the lock of the group that its specification names, if it names one."""
    group = worker.spec.group
    if group is None:
        return
    lock = core.locks.get(group.name)
    if lock is None:
        lock = core.locks[group.name] = HostLock(
            group.name,
            core.fences.get(group.name, 0),
            lambda ceiling, then: core.reserve_tokens(group.name, ceiling, then),
        )
    lock.members.append(worker)
    worker.lock = lock
    _configure(core, lock, group)


def leave(core: Core, worker: WorkerDispatch) -> None:
    """Take the worker out of its group; what it has in hand keeps its turn until it is over."""
    lock = worker.lock
    if lock is None:
        return
    worker.lock = None
    lock.members.remove(worker)
    lock.stop_waiting(worker)
    worker.inbox.give_back(lock.unpark_worker(worker))
    for turn in lock.all_turns():
        if turn.worker is worker and not turn.executor.hand:
            for waiting in lock.leave(turn.executor):
                pump(core, waiting)
    if lock.has_turn_of(worker):
        worker.former_locks.append(lock)
    close_unused(core, lock)


def rejoin(core: Core, worker: WorkerDispatch) -> None:
    """Follow a changed specification: another group, another limit, another reach."""
    lock, group = worker.lock, worker.spec.group
    if lock is None or group is None or lock.name != group.name:
        leave(core, worker)
        join(core, worker)
        return
    worker.inbox.give_back(lock.unpark_worker(worker))  # the key may be another one
    _configure(core, lock, group)


def close_unused(core: Core, lock: HostLock) -> None:
    """Forget a lock without members and turns."""
    if lock.members or lock.turns or lock.key_turns or core.locks.get(lock.name) is not lock:
        return
    del core.locks[lock.name]
    if lock.leases is not None:
        lock.leases.close()


async def give_leases_back(core: Core) -> None:
    """Open this host's locks for the others; the service is about to end."""
    for lock in list(core.locks.values()):
        if lock.leases is not None:
            await lock.leases.aclose()


def _configure(core: Core, lock: HostLock, group: Group) -> None:
    lock.limit, lock.max_hold_s = group.limit, group.max_hold_s
    if group.scope == "host" or (group.scope == "auto" and core.cluster.shared is None):
        lock.leases = None
        lock.prepare()
        return
    leases = lock.leases = lock.leases or Leases(lock.name, core.cluster)
    leases.limit, leases.hold_s = lock.limit, lock.max_hold_s
    leases.run_s = lambda: max((member.run_s for member in lock.members), default=0.0)
    leases.wants = lock.wants
    leases.on_grant = lambda lease: _granted(core, lock, lease)
    leases.on_revoked = lambda lease: _kill(lock, lease, REVOKED_EXIT)


def _granted(core: Core, lock: HostLock, lease: Lease) -> None:
    """A lease is here: whoever waits for it may try again, and it is watched until it runs out."""
    core.timers.after(lease.safe_until - core.cluster.clock(), lambda: _run_out(lock, lease))
    for owner, parked in lock.unpark(lease.key):
        owner.inbox_of(parked).give_back([parked])
        pump(core, owner)
    if not lease.key:
        for worker in list(lock.waiting):
            pump(core, worker)
    core.ledger.flush()


def _run_out(lock: HostLock, lease: Lease) -> None:
    """Kill what still runs under a lease that is about to be somebody else's; it costs nobody."""
    if lock.leases is not None and any(turn.lease is lease for turn in lock.all_turns()):
        lock.leases.note_lost(lease)
    _kill(lock, lease, LEASE_EXIT)


def _kill(lock: HostLock, lease: Lease, why: str) -> None:
    for turn in lock.all_turns():
        if turn.lease is lease:
            turn.executor.end(why)


def take_late(
    core: Core, worker: WorkerDispatch, executor: Executor, outcomes: list[list[Any]]
) -> tuple[list[list[Any]], list[Task]]:
    """Part outcomes from those whose lease ran out meanwhile: their tasks go back, at no cost."""
    lock = worker.lock
    good, late = [], []
    for outcome in outcomes:
        task = executor.hand[outcome[0]]
        lease = lock.lease_of(executor, task) if lock is not None else None
        if lease is None or _holds(core, lock, lease):
            good.append(outcome)
            continue
        late.append(executor.part_with(outcome[0]))
        worker.counts["lease_lost"] += 1
    if late and core.tracer is not None:
        core.tracer.lost(worker, executor, late, error=LEASE_LOST)
    for task in reversed(late):
        task.fence = None
        worker.inbox_of(task).give_back([task])
    return good, late


def has_lost_lease(core: Core, worker: WorkerDispatch, executor: Executor) -> bool:
    """Tell whether *executor* has anything in hand under a lease that is not ours any more."""
    lock = worker.lock
    if lock is None or lock.leases is None:
        return False
    leases = [lock.lease_of(executor, task) for task in executor.hand.values()]
    return any(lease is not None and not _holds(core, lock, lease) for lease in leases)


def _holds(core: Core, lock: HostLock | None, lease: Lease) -> bool:
    if lock is None or lock.leases is None:
        return lease.is_valid(core.cluster.clock())
    return lock.leases.holds(lease)
