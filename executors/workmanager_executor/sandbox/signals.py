"""Signals for the first process of a pid namespace, from which the kernel keeps most of them.

pid_namespaces(7): pid 1 gets no signal that it has no handler for. So those that end every other
process by default (SIGTERM of the supervisor, SIGALRM of an alarm that user code has set) get one.
A handler in Python would not run while C code does, so it is libc's _exit itself, called with the
signal's number: the executor ends at once, in the middle of anything, with that exit code.

SIGKILL and SIGSTOP take no handler. The first is seen to by seccomp, see `rules_process`; the
second does nothing.
"""

from __future__ import annotations

import ctypes
import os

_SIGTERM = 15
# HUP INT QUIT USR1 USR2 ALRM XCPU VTALRM PROF IO; SEGV and its like end pid 1 as well.
_ENDING = (1, 2, 3, 10, 12, 14, 24, 26, 27, 29)
_SIG_DFL = 0

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
_LIBC.signal.restype = ctypes.c_void_p
_EXIT = ctypes.cast(_LIBC._exit, ctypes.c_void_p)  # noqa: SLF001 - that is its name


def end_on_signals() -> None:
    """Let signals end this process: by their default action, or as pid 1 by an exit code.

    SIGTERM is the supervisor's and gets its handler whatever was there; of the others only those
    that the interpreter does not handle. Children of a fork have the handlers too, and a program
    that is executed has the defaults.
    """
    is_first = os.getpid() == 1
    _LIBC.signal(_SIGTERM, _EXIT if is_first else _SIG_DFL)
    for number in _ENDING if is_first else ():
        before = _LIBC.signal(number, _EXIT)
        if before is not None:  # not SIG_DFL
            _LIBC.signal(number, before)
