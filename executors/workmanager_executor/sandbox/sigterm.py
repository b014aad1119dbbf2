"""SIGTERM for the first process of a pid namespace, from which the kernel keeps it.

pid_namespaces(7): pid 1 gets no signal that it has no handler for. A handler in Python would not
run while C code does, so it is libc's _exit itself, called with the signal's number: the executor
ends at once, in the middle of anything, with exit code 15.
"""

from __future__ import annotations

import ctypes
import os

_SIGTERM = 15
_SIG_DFL = 0

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
_LIBC.signal.restype = ctypes.c_void_p
_EXIT = ctypes.cast(_LIBC._exit, ctypes.c_void_p)  # noqa: SLF001 - that is its name


def end_on_sigterm() -> None:
    """Let SIGTERM end this process: by its default action, or as pid 1 by exit code 15.

    Children of a fork have the handler too, and a program that is executed has the default action.
    """
    _LIBC.signal(_SIGTERM, _EXIT if os.getpid() == 1 else _SIG_DFL)
