"""Applying a prepared sandbox: first the namespaces, then, as their first process, all the rest.

    zygote: prepare() --fork--> intermediate: separate() --fork--> executor: settle()

Only a child can be in a new pid namespace, and the zygote's double fork has a process to spare for
that. The executor is the supervisor's own child all the same: what ends it is what it ended of, and
since it is pid 1 of its namespace, the kernel ends everything in there before its parent is told.
"""

from __future__ import annotations

import os
import select
import struct
from typing import TYPE_CHECKING, List, Optional, Sequence

from . import namespaces, outlook, seccomp, syscalls
from .errors import SandboxError
from .records import ACTIVE, DEGRADED
from .signals import end_on_signals
from .steps import OPENED_FD, PARENT_FD, run

if TYPE_CHECKING:
    from .prepared import Prepared
    from .records import Record

EVENTS_FD = 3
SETUP_FAILED = 71  # exit code, as in the contract with the supervisor

_SIGKILL = 9  # the enums of `signal` would cost each executor some hundred KiB


def separate(
    prepared: Prepared,
    cgroup_fds: Sequence[int] = (),
    map_ids: Optional[namespaces.MapIds] = None,
) -> int:
    """Leave the host's namespaces; the next child of this process becomes the executor.

    Args:
        cgroup_fds: Open cgroup.procs files of the executor's cgroups; this process joins them, so
            its child is born in them, and the files are closed.
        map_ids: As in `namespaces.leave`.

    Returns:
        A descriptor for `settle`, which has to survive the fork.

    Raises:
        SandboxError: The kernel refuses.
    """
    for descriptor in cgroup_fds:
        _join(descriptor)
    if cgroup_fds:
        prepared.ledger.note("cgroups", ACTIVE, f"joined {len(cgroup_fds)}")
    departure_fd = os.pidfd_open(os.getpid())
    if prepared.profile.has_namespaces:
        try:
            namespaces.leave(prepared.profile, prepared.identity, map_ids)
        except OSError as error:
            raise SandboxError("namespaces", str(error)) from error
    return departure_fd


def settle(prepared: Prepared, departure_fd: int) -> List[Record]:
    """Apply all that is left, in the child of the process that called `separate`.

    Call it single-threaded, with the executor's five descriptors in place and before a byte of user
    code is read. It waits for the intermediate process to end, for the parent-death signal is bound
    to the parent of the moment: the supervisor, which adopts this process. All descriptors from 5
    on are closed. The environment gets TMPDIR and HOME, and the working directory is the scratch.

    Returns:
        One record for each layer: `{layer, state, detail, required}`.

    Raises:
        SandboxError: A layer that the level is made of, or that the profile requires, cannot be
            had. The process is then half-way in and has to exit (71).
    """
    if departure_fd != PARENT_FD:
        os.dup2(departure_fd, PARENT_FD, inheritable=False)
    syscalls.close_range(OPENED_FD)
    os.umask(0o022)
    for layer in run(prepared.shed_steps):
        prepared.ledger.note(layer, DEGRADED, outlook.SUBSTITUTES[layer])
    _use_scratch(prepared.scratch)
    _die_with_supervisor()
    if prepared.filter_program is not None:
        for offset in prepared.pid_offsets:
            struct.pack_into("=I", prepared.filter_program, offset, os.getpid())
    run(prepared.lock_steps)
    os.close(PARENT_FD)
    if prepared.profile.has_namespaces:
        end_on_signals()
    return prepared.ledger.records()


def seal() -> None:
    """Forbid execve: for a foreign interpreter with subprocess=deny, before its first user byte.

    `settle` had to leave execve open for the step into that interpreter.

    Raises:
        SandboxError: The kernel refuses.
    """
    run([seccomp.seal_step()])
    end_on_signals()  # which the step into the interpreter undid


def _use_scratch(path: str) -> None:
    if path:
        os.environ["TMPDIR"] = os.environ["HOME"] = path
    try:
        os.chdir(path or "/")
    except OSError as error:
        raise SandboxError("scratch", str(error)) from error


def _die_with_supervisor() -> None:
    """Have the kernel kill this process when the supervisor ends; end at once if it has ended.

    The usual check, whether getppid() has changed, says nothing: it is 0 in a pid namespace. So the
    intermediate's pidfd tells of the adoption (the kernel reparents before it wakes those who poll,
    exit_notify()), and the events channel, whose other end is the supervisor's, of its end. Changes
    of credentials disarm the signal, so this comes after them.
    """
    poll = select.poll()
    poll.register(PARENT_FD, select.POLLIN)
    poll.poll()
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _SIGKILL)
    poll.unregister(PARENT_FD)
    poll.register(EVENTS_FD, 0)
    if any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)):
        os._exit(SETUP_FAILED)


def _join(cgroup_procs_fd: int) -> None:
    try:
        os.write(cgroup_procs_fd, b"0")
        os.close(cgroup_procs_fd)
    except OSError as error:
        raise SandboxError("cgroups", str(error)) from error
