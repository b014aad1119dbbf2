"""What an attack is: its registry, its targets, and a few raw system calls.

Imported by the attack files in two places: by pytest, to list them, and by `jailer.py` in a bare
interpreter, to run them. Hence the standard library only.

An attack says that it got through by raising `Escaped` with its evidence. OSError and MemoryError
mean that the kernel refused; returning means that nothing was gained.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SANDBOXED = ("basic", "full", "uid")
ISOLATED = ("full", "uid")

ESCAPES, ROOT_ESCAPES, NOT_RUN, UNKNOWN = "escapes", "root escapes", "not run", "unknown"

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def _tracing() -> str:
    """What reading another process of one's uid does without a sandbox: Yama may forbid it."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", encoding="ascii") as scope:
            return ESCAPES if scope.read().strip() == "0" else UNKNOWN
    except OSError:
        return ESCAPES


TRACING = _tracing()
IS_X86 = os.uname().machine == "x86_64"


class Escaped(Exception):
    """The attack reached what it must not reach; the message is the evidence."""


class Targets(NamedTuple):
    """What lies outside, made for the attacks and harmless to hit."""

    victim_pid: int  # a sleeper of the jailer's uid, with a secret in its environment
    victim_group: int
    jailer_pid: int  # stands for the supervisor
    secret: str  # a private file of the jailer's uid
    secret_text: str
    open_folder: str  # a folder that everybody may write to
    open_file: str  # a file in it that everybody may write to
    tcp_port: int  # of a listener on 127.0.0.1
    udp_port: int
    unix_path: str  # of a datagram socket in open_folder
    abstract_name: str
    memory_bytes: int  # the executor's limits
    files: int
    processes: int
    scratch_bytes: int
    scratch_inodes: int
    scratch: str  # the executor's writable folder


class Attack(NamedTuple):
    """One attack and what a correct system shows."""

    name: str
    group: str
    run: Callable[[Targets], None]
    promise: str
    levels: tuple[str, ...]
    at_none: str
    leaks: Mapping[str, str]  # level -> why it is not contained there
    profile: Mapping[str, object]
    after: Callable[[Targets], str | None] | None  # evidence seen from outside
    aims_at_victim: bool  # the victim is asked afterwards what it felt


ATTACKS: dict[str, Attack] = {}


def attack(
    *,
    levels: tuple[str, ...] = SANDBOXED,
    at_none: str = NOT_RUN,
    leaks: Mapping[str, str] | None = None,
    profile: Mapping[str, object] | None = None,
    after: Callable[[Targets], str | None] | None = None,
    aims_at_victim: bool = False,
) -> Callable[[Callable[[Targets], None]], Callable[[Targets], None]]:
    """Register an attack; its docstring is the promise.

    Args:
        levels: Where it is run beside level none.
        at_none: What it does without a sandbox: `ESCAPES` proves that a layer does the work,
            `ROOT_ESCAPES` the same for root only, `UNKNOWN` is not asserted, `NOT_RUN` would hurt.
        leaks: Levels that do not contain it, and why; the documentation names each.
        profile: Fields beside the level, such as subprocess=allow.
        after: Looks from outside, after the executor was killed; returns evidence of an escape.
        aims_at_victim: Ask the victim afterwards whether it was signalled, stopped or killed.
    """

    def register(function: Callable[[Targets], None]) -> Callable[[Targets], None]:
        group = function.__module__.rpartition(".")[2]
        name = f"{group}.{function.__name__}"
        promise = " ".join((function.__doc__ or "").split())
        ATTACKS[name] = Attack(
            name=name,
            group=group,
            run=function,
            promise=promise,
            levels=levels,
            at_none=at_none,
            leaks=leaks or {},
            profile=profile or {},
            after=after,
            aims_at_victim=aims_at_victim,
        )
        return function

    return register


def call(number: int, *arguments: object) -> int:
    """A raw system call; OSError if it fails."""
    words = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    result = int(LIBC.syscall(ctypes.c_long(number), *words))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"system call {number}")
    return result


def number(x86: int, arm: int) -> int:
    """The call's number on this machine."""
    return x86 if IS_X86 else arm


def refused_with(error: int, expected: int, what: str) -> None:
    """For calls that fail anyway: only the sandbox's own error counts as contained."""
    if error != expected:
        raise Escaped(f"{what} reached the kernel: {os.strerror(error)}")


SIGNAL = int(signal.SIGUSR2)  # the victim tells of it
