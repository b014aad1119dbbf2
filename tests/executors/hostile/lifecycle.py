"""Attacks on one's own end: outliving the kill, becoming somebody else, never being found."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

from cage import ESCAPES, ISOLATED, LIBC, UNKNOWN, Escaped, Targets, attack, call, number

ALLOW = {"subprocess": "allow"}
FOR_GOOD_S = 30
SAY_SO = """printf '{"verdict":"escaped","detail":"a shell runs"}\\n' >&3"""


@attack(at_none=ESCAPES)
def daemon(targets: Targets) -> None:
    """A child in a session of its own does not outlive the executor."""
    _detach()


@attack(levels=ISOLATED, profile=ALLOW)
def daemon_where_forks_are_allowed(targets: Targets) -> None:
    """The end of the namespace's first process ends all of them."""
    for _ in range(5):
        _detach()


@attack(levels=ISOLATED, profile=ALLOW)
def orphans_of_orphans(targets: Targets) -> None:
    """A chain of daemons, each made by the last."""
    for depth in range(6):
        if os.fork() != 0:
            if depth == 0:
                return
            os._exit(0)
        os.setsid()
    time.sleep(FOR_GOOD_S)
    os._exit(0)


@attack(levels=ISOLATED, profile=ALLOW)
def child_of_the_supervisor(targets: Targets) -> None:
    """CLONE_PARENT would make the child the supervisor's."""
    pid = call(number(56, 220), 0x8000 | int(signal.SIGCHLD), 0, 0, 0, 0)
    if pid == 0:
        time.sleep(FOR_GOOD_S)
        os._exit(0)
    raise Escaped("made a sibling")


@attack(levels=ISOLATED, profile=ALLOW)
def child_that_holds_the_pipes(targets: Targets) -> None:
    """A child that keeps every descriptor dies with the rest."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(FOR_GOOD_S)
        os._exit(0)


@attack(at_none=ESCAPES)
def another_program(targets: Targets) -> None:
    """subprocess=deny: no exec either."""
    os.execv("/bin/sh", ["/bin/sh", "-c", SAY_SO])


@attack(at_none=ESCAPES)
def another_program_by_descriptor(targets: Targets) -> None:
    """execveat is the same by another number."""
    arguments = (ctypes.c_char_p * 4)(b"sh", b"-c", SAY_SO.encode(), None)
    environment = (ctypes.c_char_p * 1)(None)
    call(number(322, 281), -100, b"/bin/sh", arguments, environment, 0)


@attack(levels=ISOLATED, profile=ALLOW)
def program_from_the_scratch(targets: Targets) -> None:
    """What was written there cannot be run, with the right bits set."""
    _run_copy_of_shell(os.path.join(targets.scratch, "program"))


@attack(levels=ISOLATED, profile=ALLOW)
def program_from_memory(targets: Targets) -> None:
    """A file in memory would do, if there were any."""
    _run_copy_of_shell(f"/proc/self/fd/{os.memfd_create('program', 0)}")


@attack(levels=ISOLATED, profile=ALLOW)
def library_from_the_scratch(targets: Targets) -> None:
    """Nor can a file there be mapped as code."""
    path = os.path.join(targets.scratch, "code")
    with open(path, "wb") as file:
        file.write(b"\xc3" * 4096)
    with open(path, "rb") as file:
        protection = 1 | 4  # read, execute
        LIBC.mmap.restype = ctypes.c_void_p
        address = LIBC.mmap(
            None, ctypes.c_size_t(4096), protection, 2, file.fileno(), ctypes.c_long(0)
        )
        if address not in (None, ctypes.c_void_p(-1).value):
            raise Escaped("mapped a file of the scratch as code")


@attack()
def deaf_to_sigterm(targets: Targets) -> None:
    """SIGKILL is not the executor's to handle."""
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(sign, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))


@attack()
def stopped(targets: Targets) -> None:
    """A stopped process is killed like any other."""
    os.kill(os.getpid(), signal.SIGSTOP)


@attack()
def many_threads_at_the_end(targets: Targets) -> None:
    """Threads that never return do not keep the process."""
    for _ in range(5):
        threading.Thread(target=time.sleep, args=(FOR_GOOD_S,), daemon=True).start()


@attack()
def crash(targets: Targets) -> None:
    """A segmentation fault ends the executor and nothing else."""
    ctypes.string_at(8)


@attack()
def abort(targets: Targets) -> None:
    """So does abort()."""
    os.abort()


@attack(at_none=UNKNOWN)
def new_session(targets: Targets) -> None:
    """It leads its session already: it cannot leave it for another."""
    os.setsid()
    raise Escaped("a session of its own")


@attack(at_none=ESCAPES)
def orphan_keeper(targets: Targets) -> None:
    """Without children there is nobody to keep from the supervisor."""
    if LIBC.prctl(36, 1, 0, 0, 0) == 0:
        _detach()
        raise Escaped("adopts its own orphans")


def _detach() -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(FOR_GOOD_S)
        os._exit(0)


def _run_copy_of_shell(path: str) -> None:
    with open("/bin/sh", "rb") as shell, open(path, "wb") as copy:
        copy.write(shell.read())
    os.chmod(path, 0o755)
    status = os.spawnv(os.P_WAIT, path, [path, "-c", "exit 42"])
    if status == 42:
        raise Escaped(f"ran {path} with {sys.executable}")
