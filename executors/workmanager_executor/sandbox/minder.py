"""The minder: the process that the supervisor knows, around pid 1 of the executor's namespace.

Only a child can be in a new pid namespace, so the process that called `enter` stays outside: it
holds no descriptor and no privilege, passes signals on, reaps, and ends as the executor ended. If
it is killed, the kernel kills pid 1 and with it everything in the namespace.
"""

from __future__ import annotations

import os
import resource
import select
import signal
from typing import TYPE_CHECKING, NoReturn

from . import capabilities, syscalls
from .errors import SandboxError
from .steps import run

if TYPE_CHECKING:
    from .namespaces import Identity

EVENTS_FD = 3
SETUP_FAILED = 71

_PASSED_ON = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_WAITED_FOR = frozenset((*_PASSED_ON, signal.SIGCHLD))


def split(identity: Identity) -> int:
    """Fork; the parent becomes the minder and never returns.

    Returns:
        In the child: a descriptor that hangs up when the minder is gone.
    """
    supervisor_pid = os.getppid()
    alive, minders_end = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    inner = os.fork()
    if inner != 0:
        try:
            _mind(inner, minders_end, supervisor_pid, identity)
        except (OSError, SandboxError) as error:
            os.write(2, f"minder: {error}\n".encode())
        finally:
            os._exit(SETUP_FAILED)
    os.close(minders_end)
    os.setsid()  # kill(0, ...) inside must not reach the minder
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return alive


def _mind(inner: int, minders_end: int, supervisor_pid: int, identity: Identity) -> NoReturn:
    # A user namespace without a map has no uid to change to; its capabilities go all the same.
    run(capabilities.steps(identity, bounding=True))
    run([capabilities.no_new_privs_step()])
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor_pid or _has_hung_up(EVENTS_FD):
        os._exit(SETUP_FAILED)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir("/")
    os.closerange(0, minders_end)
    syscalls.close_range(minders_end + 1)
    killed_for = 0
    while True:
        number = signal.sigwaitinfo(_WAITED_FOR).si_signo
        if number == signal.SIGCHLD:
            pid, status = os.waitpid(inner, os.WNOHANG)
            if pid == inner:
                _end_as(status, killed_for)
        elif _pass_on(inner, number):
            killed_for = number


def _pass_on(inner: int, number: int) -> bool:
    """Send the signal in; True if it had to be turned into a kill.

    The kernel keeps from pid 1 every signal that it has no handler for. To the supervisor the
    executor shall be a process like others, which SIGTERM ends.
    """
    try:
        os.kill(inner, number)
        if _would_end(inner, number):
            os.kill(inner, signal.SIGKILL)
            return True
    except (OSError, ValueError):
        pass  # not yet the same uid, or gone already: SIGCHLD follows
    return False


def _would_end(pid: int, number: int) -> bool:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        lines = dict(line.split(":", 1) for line in status if line.startswith("Sig"))
    bit = 1 << (number - 1)
    return not any(int(lines[name], 16) & bit for name in ("SigBlk", "SigIgn", "SigCgt"))


def _end_as(status: int, killed_for: int) -> NoReturn:
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = killed_for or os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _has_hung_up(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
