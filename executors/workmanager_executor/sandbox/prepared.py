"""What can be known before the fork: the profile checked, its chain of calls and records made.

The order is the sandbox; each step was needed where it stands. The tree needs the namespaces. The
rlimits come after the user namespace, for NPROC counts per namespace only then. The uid comes
before the capabilities that changing it takes, no_new_privs before Landlock, which needs it, and
seccomp last, for it forbids all of the above.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import (
    capabilities,
    landlock,
    limits,
    mounts,
    namespaces,
    outlook,
    owned,
    seccomp,
    syscalls,
    trees,
)
from .errors import SandboxError
from .profile import PRIVATE_SCRATCH, Profile, parse
from .records import Ledger

if TYPE_CHECKING:
    from .namespaces import Identity
    from .steps import Step
    from .trees import Tree

_KEPT_MAX = 32  # prepared sandboxes in the zygote, some 100 KiB each


class Prepared(NamedTuple):
    """One executor's sandbox, ready to be applied. Never changed but in a fork's own copy."""

    profile: Profile
    identity: Identity
    tree: Optional[Tree]
    shed_steps: Tuple[Step, ...]  # everything up to the loss of all privileges
    lock_steps: Tuple[Step, ...]  # no_new_privs, Landlock, seccomp
    own_shed: Tuple[int, ...]  # which of the steps name the executor's own uid or scratch
    own_lock: Tuple[int, ...]
    filter_program: Optional[ctypes.Array[ctypes.c_char]]
    pid_offsets: Tuple[int, ...]  # in filter_program: where the executor's pid belongs
    scratch: str
    ledger: Ledger


_KEPT: Dict[str, Prepared] = {}  # by the fields' text: in a fork nothing costs less to compare


def prepare(fields: Mapping[str, object]) -> Prepared:
    """Check *fields* and build the chain; in the zygote, for it is the forks' time and memory.

    Raises:
        SandboxError: The profile makes no sense, or this host lacks a layer that it demands.
    """
    general, own = owned.generalise(fields)
    kept = _kept(general)
    return kept._replace(**owned.changes(kept, own)) if own else kept


def _kept(fields: Mapping[str, object]) -> Prepared:
    key = repr(fields)
    kept = _KEPT.get(key)
    if kept is not None and (kept.tree is None or trees.is_current(kept.tree)):
        return kept
    if len(_KEPT) >= _KEPT_MAX:
        _KEPT.clear()
    try:
        made = _KEPT[key] = _prepare(parse(fields))
    except OSError as error:
        raise SandboxError("profile", str(error)) from error
    return made


def _prepare(profile: Profile) -> Prepared:
    abi = syscalls.landlock_abi()
    identity = namespaces.identity_of(profile)
    _check_host(profile, identity, abi)
    tree = trees.plan(profile) if profile.has_namespaces else None
    ledger = Ledger(profile.required)
    outlook.note_all(ledger, profile, identity=identity, tree=tree, abi=abi)
    bounds = limits.bounds_for(
        dict(profile.limits),
        engine=profile.engine,
        own_processes=profile.level == "full" or identity is not None,
    )
    outlook.note_memory(ledger, limits.describe_memory(bounds))
    program = _filter(profile, abi)
    shed_steps = _shed_steps(profile, identity, tree, bounds)
    lock_steps = _lock_steps(profile, abi, program)
    return Prepared(
        profile=profile,
        identity=identity,
        tree=tree,
        shed_steps=shed_steps,
        lock_steps=lock_steps,
        own_shed=owned.places(shed_steps),
        own_lock=owned.places(lock_steps),
        filter_program=program,
        pid_offsets=tuple(seccomp.pid_offsets(program.raw)) if program is not None else (),
        scratch=(PRIVATE_SCRATCH if profile.has_namespaces else profile.scratch_path) or "",
        ledger=ledger,
    )


def _check_host(profile: Profile, identity: Identity, abi: int) -> None:
    if profile.level == "none":
        return
    if profile.level == "uid" and identity is None:
        raise SandboxError("uid", "another uid can only be taken by root")
    if abi == 0 and not profile.has_namespaces:  # it is all that keeps files apart there
        raise SandboxError("landlock", outlook.NO_LANDLOCK)
    if profile.network == "ports" and abi < landlock.PORTS_ABI:
        raise SandboxError("network", f"ports needs Landlock ABI 4 (kernel 6.7), here {abi}")


def _filter(profile: Profile, abi: int) -> Optional[ctypes.Array[ctypes.c_char]]:
    if profile.level == "none":
        return None
    try:
        program = seccomp.program_for(seccomp.policy_of(profile, abi))
    except OSError as error:
        raise SandboxError("seccomp", str(error)) from error
    return ctypes.create_string_buffer(program, len(program))


def _shed_steps(
    profile: Profile, identity: Identity, tree: Optional[Tree], bounds: Sequence[limits.Bound]
) -> Tuple[Step, ...]:
    found = limits.courtesy_steps()
    if tree is not None:
        owner = identity or (os.geteuid(), os.getegid())
        found += namespaces.steps(profile, identity) + mounts.steps(profile, tree, owner)
    found += limits.steps(bounds)
    if profile.level != "none":
        # In a user namespace of one's own one has every capability, also that of dropping them.
        bounding = profile.level == "full" or capabilities.can_drop_bounding_set()
        found += capabilities.steps(identity, bounding=bounding)
    return tuple(found)


def _lock_steps(
    profile: Profile, abi: int, program: Optional[ctypes.Array[ctypes.c_char]]
) -> Tuple[Step, ...]:
    if program is None:
        return ()
    confine = landlock.steps(profile, abi) if abi > 0 else []
    last = syscalls.seccomp_step("seccomp", program)
    return (capabilities.no_new_privs_step(), *confine, last)
