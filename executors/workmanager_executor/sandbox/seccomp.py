"""Which system calls a sandboxed executor may make: a deny-list with a ceiling.

An allow-list breaks with every new libc, .NET or C extension; the ceiling (`NEWEST_NUMBER`) gives
the same protection against calls that were invented later. Refusals are errors, not kills, so that
honest code takes its fallback. What namespaces already settle is not filtered again where it would
cost compatibility: pid arguments only without own pids, chmod only without an own tree.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import TYPE_CHECKING, Dict, List, NamedTuple

from . import syscalls
from .bpf import Node, assemble, refuse, whole_filter
from .numbers import machine, numbers_of
from .rules_calls import kernel_surface, memory_files, shared_tree_rules
from .rules_network import network_rules
from .rules_process import process_rules

if TYPE_CHECKING:
    from .profile import Profile
    from .steps import Step

_SELF_PID = 0x5EC0517D  # stands for the pid in a cached program


class Policy(NamedTuple):
    """The part of a profile that decides about the filter; equal policies share one program."""

    machine: str
    subprocess_allowed: bool
    exec_open: bool
    network: str
    unix_sockets: bool
    own_pids: bool
    own_tree: bool
    landlock_abi: int


_PROGRAMS: Dict[Policy, bytes] = {}  # filled in the zygote, inherited by every fork


def policy_of(profile: Profile, landlock_abi: int) -> Policy:
    """Derive the filter's parameters.

    Unix sockets need a place where they lead nowhere: an own network (abstract names) and tree
    (paths); with the host's network Landlock's scope (ABI 6) has to stand in for the former.
    """
    scoped = profile.network == "full" and landlock_abi >= 6
    return Policy(
        machine=machine(),
        subprocess_allowed=profile.subprocess_allowed,
        exec_open=profile.exec_comes_later,
        network=profile.network,
        unix_sockets=profile.has_namespaces and (profile.network == "loopback" or scoped),
        own_pids=profile.has_namespaces,
        own_tree=profile.has_namespaces,
        landlock_abi=landlock_abi,
    )


def program_for(policy: Policy) -> bytes:
    """The BPF program of *policy*, from the cache if it was compiled before.

    Without own pids it holds a mark where the process's pid has to be filled in.

    Raises:
        OSError: ENOSYS, nobody knows this machine's system calls.
    """
    program = _PROGRAMS.get(policy)
    if program is None:
        program = _PROGRAMS[policy] = assemble(_tree(policy))
    return program


def pid_offsets(program: bytes) -> List[int]:
    """Where the mark stands in *program*."""
    mark = struct.pack("=I", _SELF_PID)
    return [at + 4 for at in range(0, len(program), 8) if program[at + 4 : at + 8] == mark]


def seal_step() -> Step:
    """Refuse execve from now on: the second half of subprocess=deny for a foreign interpreter."""
    numbers = numbers_of(machine())
    rules = {numbers[name]: refuse(errno.EPERM) for name in ("execve", "execveat")}
    program = assemble(whole_filter(machine(), rules))
    return syscalls.seccomp_step("subprocess", ctypes.create_string_buffer(program, len(program)))


def _tree(policy: Policy) -> Node:
    numbers = numbers_of(policy.machine)
    if not numbers:
        raise OSError(errno.ENOSYS, f"no system call table of {policy.machine}", "seccomp")
    rules: Dict[str, Node] = kernel_surface()
    rules.update(
        process_rules(
            subprocess_allowed=policy.subprocess_allowed,
            exec_open=policy.exec_open,
            own_pids=policy.own_pids,
            self_pid=_SELF_PID,
        )
    )
    rules.update(network_rules(policy.network, unix_sockets=policy.unix_sockets))
    rules.update(memory_files())
    if not policy.own_tree:
        rules.update(shared_tree_rules(policy.landlock_abi))
    numbered = {numbers[name]: node for name, node in rules.items() if name in numbers}
    return whole_filter(policy.machine, numbered)
