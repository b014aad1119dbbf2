"""Attacks on one's own end: outliving the kill, becoming somebody else, never being found."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

from cage import ESCAPES, IS_X86, ISOLATED, LIBC, UNKNOWN, Escaped, Targets, attack, call, number

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


@attack()
def killed_by_itself(targets: Targets) -> None:
    """SIGKILL of oneself ends the executor, also as the first process of its namespace."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise Escaped("lives on after SIGKILL")


@attack()
def ended_by_an_alarm(targets: Targets) -> None:
    """So does an alarm that nobody handles."""
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(1)
    raise Escaped("lives on after SIGALRM")


@attack(levels=ISOLATED, profile=ALLOW)
def first_process_killed_by_its_child(targets: Targets) -> None:
    """A child cannot end the executor in the middle of somebody's event without being told no."""
    if os.fork() == 0:
        try:
            os.kill(1, signal.SIGKILL)
        except PermissionError:
            os._exit(0)
        os._exit(1)
    if os.waitstatus_to_exitcode(os.wait()[1]) != 0:
        raise Escaped("kill(1, SIGKILL) of a child was not refused")


@attack(levels=ISOLATED, profile=ALLOW)
def program_by_the_loader(targets: Targets) -> None:
    """The loader is a program that may run; what it maps from the scratch as code may not."""
    loader = "/lib64/ld-linux-x86-64.so.2" if IS_X86 else "/lib/ld-linux-aarch64.so.1"
    copy = os.path.join(targets.scratch, "program")
    with open("/bin/sh", "rb") as shell, open(copy, "wb") as file:
        file.write(shell.read())
    status = os.spawnv(os.P_WAIT, loader, [loader, copy, "-c", "exit 42"])
    if status == 42:
        raise Escaped("ran a program of the scratch")


@attack(levels=ISOLATED, profile=ALLOW)
def privileged_program(targets: Targets) -> None:
    """A set-uid program of the host runs without its rights."""
    for program in ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount", "/usr/bin/newgrp"):
        if not os.path.exists(program) or os.fork() != 0:
            continue
        os.execv("/bin/sh", ["sh", "-c", f"exec 2>&1; {program} --version; cat /proc/self/status"])
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    with open("/proc/self/status", encoding="ascii") as status:
        if "NoNewPrivs:\t1" not in status.read():
            raise Escaped("new privileges may be had")


@attack(levels=ISOLATED, profile=ALLOW)
def namespaces_in_a_child(targets: Targets) -> None:
    """What a child may not, its children may not: a nested namespace, a mount, a trace."""
    if os.fork() == 0:
        for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000):
            if LIBC.unshare(flag) == 0:
                os._exit(1)
        os._exit(1 if LIBC.ptrace(0, 0, None, None) == 0 else 0)
    if os.waitstatus_to_exitcode(os.wait()[1]) != 0:
        raise Escaped("a child has more rights")


@attack(levels=ISOLATED, profile=ALLOW)
def stopped_children(targets: Targets) -> None:
    """A family of stopped processes dies as any other."""
    for _ in range(4):
        if os.fork() == 0:
            os.setsid()
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(FOR_GOOD_S)


@attack(levels=ISOLATED, profile=ALLOW)
def zombies(targets: Targets) -> None:
    """Children that nobody waits for count until they are: the bomb ends itself."""
    done = 0
    try:
        for _ in range(4 * targets.processes):
            if os.fork() == 0:
                os._exit(0)
            done += 1
    except OSError:
        if done <= targets.processes:
            return
    raise Escaped(f"{done} zombies")


@attack()
def exit_in_a_thread(targets: Targets) -> None:
    """exit(2) of the main thread leaves others running: they are killed all the same."""
    threading.Thread(target=time.sleep, args=(FOR_GOOD_S,), daemon=True).start()
    call(number(60, 93), 0)


@attack()
def deep_recursion(targets: Targets) -> None:
    """An endless recursion ends the executor at most."""
    sys.setrecursionlimit(10**9)

    def deeper(level: int) -> int:
        return deeper(level + 1) + 1

    deeper(0)
