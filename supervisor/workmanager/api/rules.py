"""The rule of each call of the service: what right it needs on which workers, and what it shows.

A rule decides by the call's arguments before anything is done. Lists are not refused but cut: they
show what the caller may READ. Rules are found by the name of the method, see `api.access`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import TYPE_CHECKING, Any

from workmanager.api import declarations
from workmanager.api.shown import (
    CutTail,
    CutWatch,
    cut_groups,
    cut_health,
    cut_items,
    cut_page,
)
from workmanager.errors import Reason, WorkManagerError
from workmanager.model.access import EVERY, Right

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from inspect import Signature

    from workmanager.api.access import Access


class Calling:
    """One call under way: who, with which arguments, about what.

    Attributes:
        target: What the audit says the call was about.
    """

    def __init__(self, access: Access, principal: str, args: Mapping[str, Any]) -> None:
        self.access = access
        self.principal = principal
        self.args = args
        self.target = EVERY

    def need(self, right: Right, worker: str) -> None:
        """Refuse the call unless the caller has *right* on *worker* (`*`: on all)."""
        self.target = worker
        self.access.check(self.principal, right, worker)

    def need_on_all(self, right: Right, workers: Sequence[str]) -> None:
        """Refuse unless the caller has *right* on each of *workers*, and on one at least."""
        if not self.access.may_anything(self.principal, right):
            self.need(right, EVERY)
        for worker in workers:
            self.need(right, worker)

    def sees(self, worker: str) -> bool:
        """Tell whether the caller may look at *worker*."""
        return self.access.may(self.principal, Right.READ, worker)

    def named(self, param: str) -> str:
        """Return the name of the worker that an argument names, by its name or its uid."""
        ref = str(self.args[param])
        return self.access.service.worker_name(ref) or ref


@dataclass(frozen=True, slots=True)
class Rule:
    """How one call is guarded.

    Attributes:
        decide: Refuses the call or lets it pass.
        show: Cuts out of the result what the caller may not see.
        run: Makes the call in place of the plain method; None for that.
        ask: Answers a call that does not wait, in place of the plain method.
        is_audited: Whether it changes something.
        is_stream: Whether it opens a stream (a context manager) instead of being awaited.
    """

    decide: Callable[[Calling], Awaitable[None]]
    show: Callable[[Calling, Any], Any] | None = None
    run: Callable[[Calling], Awaitable[object]] | None = None
    ask: Callable[[Calling], object] | None = None
    is_audited: bool = False
    is_stream: bool = False


def arguments(
    method: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]
) -> Mapping[str, Any]:
    """Return the arguments of a call by their names, defaults included."""
    bound = _signature(getattr(method, "__func__", method)).bind(None, *args, **kwargs)
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name != "self"}


@lru_cache(maxsize=256)
def _signature(function: Callable[..., object]) -> Signature:
    return signature(function)


# -- deciding --------------------------------------------------------------------------------------


async def admins_only(calling: Calling) -> None:
    """Refuse all but administrators."""
    application = calling.args.get("application", EVERY)
    calling.target = getattr(application, "name", application)
    if calling.access.is_admin(calling.principal):
        return
    raise WorkManagerError(
        f"{calling.principal or 'this caller'} is no administrator",
        reason=Reason.PERMISSION_DENIED,
    )


async def anybody(calling: Calling) -> None:
    """Let all pass who have been let in."""
    if not calling.principal:
        calling.need(Right.READ, EVERY)


def on(right: Right, param: str = "ref") -> Callable[[Calling], Awaitable[None]]:
    """Need *right* on the worker that *param* names; on all where it is not given."""

    async def decide(calling: Calling) -> None:
        calling.need(right, calling.named(param) if calling.args[param] else EVERY)

    return decide


def looking(param: str) -> Callable[[Calling], Awaitable[None]]:
    """Need READ on the worker that *param* names; without one, what comes back is cut."""

    async def decide(calling: Calling) -> None:
        if calling.args[param]:
            calling.need(Right.READ, calling.named(param))
        else:
            await anybody(calling)

    return decide


def on_every(right: Right) -> Callable[[Calling], Awaitable[None]]:
    """Need *right* on all workers."""

    async def decide(calling: Calling) -> None:
        calling.need(right, EVERY)

    return decide


async def publishing(calling: Calling) -> None:
    """Need EXECUTE on every worker that the topic reaches."""
    topic = str(calling.args["topic"])
    calling.need_on_all(Right.EXECUTE, calling.access.service.consumers(topic))


async def of_health(calling: Calling) -> None:
    """Need READ on the worker asked for; an executor's id begins with its worker's name."""
    executor = str(calling.args["executor"] or "")
    if calling.args["worker"]:
        calling.need(Right.READ, calling.named("worker"))
    elif executor:
        calling.need(Right.READ, executor.rpartition("-")[0])
    else:
        await anybody(calling)


def on_task(right: Right) -> Callable[[Calling], Awaitable[None]]:
    """Need *right* on the worker of a task."""

    async def decide(calling: Calling) -> None:
        calling.need_on_all(right, ())
        found = await calling.access.service.get_task(calling.args["task"])
        calling.need(right, found.worker)

    return decide


def on_dead_letter(right: Right) -> Callable[[Calling], Awaitable[None]]:
    """Need *right* on the worker of a dead letter."""

    async def decide(calling: Calling) -> None:
        calling.need_on_all(right, ())
        found = await calling.access.service.get_dead_letter(calling.args["dead_letter"])
        calling.need(right, found.worker)

    return decide


def on_selection(right: Right) -> Callable[[Calling], Awaitable[None]]:
    """Need *right* on the worker of a selection of dead letters; on all if it names none."""

    async def decide(calling: Calling) -> None:
        if calling.args["worker"] and calling.args["ids"] is None:
            calling.need(right, calling.named("worker"))
            return
        calling.need_on_all(right, ())
        if calling.args["ids"] is None or calling.access.may(calling.principal, right, EVERY):
            calling.need(right, EVERY)
            return
        for dead_letter in calling.args["ids"]:
            found = await calling.access.service.get_dead_letter(dead_letter)
            calling.need(right, found.worker)

    return decide


def on_group(right: Right, *, all_members: bool) -> Callable[[Calling], Awaitable[None]]:
    """Need *right* on the members of a group, or on one of them."""

    async def decide(calling: Calling) -> None:
        calling.need_on_all(right, ())
        found = await calling.access.service.get_group(calling.args["name"])
        names = [member.worker for member in found.members]
        if not all_members:
            names = [n for n in names if calling.access.may(calling.principal, right, n)][
                :1
            ] or names
        calling.need_on_all(right, names)

    return decide


def on_operation(right: Right) -> Callable[[Calling], Awaitable[None]]:
    """Need *right* on what an operation is about."""

    async def decide(calling: Calling) -> None:
        calling.need_on_all(right, ())
        found = await calling.access.service.get_operation(calling.args["operation"])
        calling.need(right, found.target)

    return decide


# -- the rules -------------------------------------------------------------------------------------

READ, CREATE, UPDATE, EXECUTE, DELETE = Right

OPEN = Rule(anybody)  # probes: for callers without credentials, too
ADMIN = Rule(admins_only, is_audited=True)
ADMIN_LOOK = Rule(admins_only)
ANY = Rule(anybody)


def _look(param: str = "ref") -> Rule:
    return Rule(on(READ, param))


def _change(right: Right, param: str = "ref") -> Rule:
    return Rule(on(right, param), is_audited=True)


def _serving(calling: Calling) -> bool | None:
    worker = str(calling.args["worker"])
    return calling.access.service.serving(worker) if calling.sees(worker) else None


RULES: Mapping[str, Rule] = {
    # workers
    "create_worker": Rule(declarations.creating, is_audited=True),
    "apply_worker": Rule(declarations.applying, run=declarations.apply, is_audited=True),
    "patch_worker": Rule(declarations.patching, is_audited=True),
    "get_worker": _look(),
    "list_workers": Rule(anybody, cut_page("name")),
    "delete_worker": _change(DELETE),
    "start_worker": _change(EXECUTE),
    "stop_worker": _change(EXECUTE),
    "pause_worker": _change(EXECUTE),
    "resume_worker": _change(EXECUTE),
    "restart_worker": _change(EXECUTE),
    "rollback_worker": _change(UPDATE),
    "explain_worker": _look(),
    "diff_worker": _look("name"),
    "recover": Rule(on_every(EXECUTE), is_audited=True),
    # versions, executors
    "create_version": _change(UPDATE),
    "list_versions": _look(),
    "get_version": _look(),
    "promote_version": _change(UPDATE),
    "delete_version": _change(UPDATE),
    "get_code": _look(),
    "list_executors": Rule(looking("worker"), cut_page("worker")),
    # events: not audited, for every event would be
    "publish": Rule(publishing),
    "invoke": Rule(on(EXECUTE)),
    # tasks, dead letters
    "list_tasks": Rule(looking("worker"), cut_page("worker")),
    "get_task": Rule(on_task(READ)),
    "cancel_task": Rule(on_task(EXECUTE), is_audited=True),
    "retry_task": Rule(on_task(EXECUTE), is_audited=True),
    "list_dead_letters": Rule(looking("worker"), cut_page("worker")),
    "get_dead_letter": Rule(on_dead_letter(READ)),
    "redrive": Rule(on_selection(EXECUTE), is_audited=True),
    "purge_dead_letters": Rule(on_selection(DELETE), is_audited=True),
    # groups, engines, operations
    "list_groups": Rule(anybody, cut_groups),
    "get_group": Rule(on_group(READ, all_members=False)),
    "release_group": Rule(on_group(EXECUTE, all_members=True), is_audited=True),
    "list_engines": ANY,
    "get_engine": ANY,
    "list_operations": Rule(anybody, cut_page("target")),
    "get_operation": Rule(on_operation(READ)),
    "cancel_operation": Rule(on_operation(EXECUTE), is_audited=True),
    # looking on
    "logs": Rule(looking("ref"), cut_items("worker")),
    "tail_logs": Rule(looking("ref"), CutTail, is_stream=True),
    "watch": Rule(looking("worker"), CutWatch, is_stream=True),
    "health": Rule(of_health, cut_health),
    "metrics": Rule(on_every(READ)),
    # access
    "list_applications": ADMIN_LOOK,
    "get_application": ADMIN_LOOK,
    "create_application": ADMIN,
    "update_application": ADMIN,
    "delete_application": ADMIN,
    "list_access_keys": ADMIN_LOOK,
    "create_access_key": ADMIN,
    "delete_access_key": ADMIN,
    "list_audit_entries": ADMIN_LOOK,
    # probes; the door asks for credentials where they tell more
    "live": OPEN,
    "started": OPEN,
    "ready": OPEN,
    "serving": Rule(anybody, ask=_serving),
}
