"""The zygote: a small single-threaded process that forks executors and does nothing else.

It is started first, with an empty environment, so nothing of the supervisor's secrets or threads
can reach an executor; what handlers usually import is loaded and frozen once, so forks share it.

    zygote --fork--> intermediate --fork--> executor
                     writes the reply,       adopted by the supervisor (its subreaper)
                     exits

The reply is sent on when the intermediate has been reaped: only then is the executor the
supervisor's own child, and a reply means that it can be waited for. Only a child that is exiting is
waited for.

A request may hold secrets of its worker, and whatever the zygote has in memory is inherited by all
later executors. So the zygote does not look into a request: the intermediate reads it from a buffer
that the zygote wipes right after the fork.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
from typing import TYPE_CHECKING, NoReturn, cast

from workmanager_executor import linux
from workmanager_executor.caging import keep_ready
from workmanager_executor.intermediate import MAX_TOLD_BYTES, run_intermediate
from workmanager_executor.logs import capture_output
from workmanager_executor.packing import pack, unpack
from workmanager_executor.rehearsal import rehearse
from workmanager_executor.spawning import MAX_DESCRIPTORS

if TYPE_CHECKING:
    from typing import Dict, Tuple

    from workmanager_executor.process import ForkHooks

    Told = Tuple[bytes, Dict[str, object]]  # by our own intermediate

SUPERVISOR_FD = 3
MAX_REQUEST_BYTES = 256 * 1024  # the kernel's socket buffer is about as large
PRELOADED = (
    *("asyncio", "collections.abc", "concurrent.futures", "contextlib", "dataclasses"),
    *("datetime", "decimal", "enum", "faulthandler", "functools", "hashlib", "inspect"),
    *("itertools", "json", "linecache", "logging", "math", "os.path", "pathlib", "random"),
    *("re", "threading", "time", "traceback", "typing", "uuid"),
)

_ANCILLARY_BYTES = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
_CUT_SHORT = socket.MSG_TRUNC | socket.MSG_CTRUNC


def main(fork_hooks: ForkHooks) -> NoReturn:
    """Serve spawn requests until the supervisor's end of the socket closes.

    Args:
        fork_hooks: What would have to run at each fork; held back, see `__main__`.
    """
    _keep_standard_descriptors_open()
    for name in PRELOADED:
        importlib.import_module(name)
    _take_own_session()
    capture_output()
    linux.use_one_malloc_arena()
    linux.set_process_name("wm-zygote")
    rehearse()
    gc.unfreeze()  # rehearse() froze its own garbage
    gc.collect()
    gc.freeze()
    gc.disable()
    with socket.socket(fileno=SUPERVISOR_FD) as sock:
        Zygote(sock, fork_hooks).serve()
    os._exit(0)


class Zygote:
    """Serves one supervisor on a SEQPACKET socket."""

    def __init__(self, sock: socket.socket, fork_hooks: ForkHooks) -> None:
        self._sock = sock
        self._fork_hooks = fork_hooks
        self._request = bytearray(MAX_REQUEST_BYTES)
        self._pending: dict[int, int] = {}  # pipe -> intermediate
        self._poll = select.poll()

    def serve(self) -> None:
        """Answer requests until the supervisor has gone."""
        self._poll.register(self._sock, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._pending:
                    self._finish(fd)
                elif not self._serve_one():
                    return

    def _serve_one(self) -> bool:
        """Take one request; False when the supervisor has gone."""
        size, ancillary, flags, _ = self._sock.recvmsg_into(
            [self._request], _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
        )
        descriptors = _descriptors_in(ancillary)
        if size == 0 and not descriptors:
            return not _has_peer_gone(self._sock)
        try:
            self._fork(size, descriptors, is_cut_short=bool(flags & _CUT_SHORT))
        except OSError as error:
            self._reply(pack({"id": None, "error": f"cannot fork: {error.strerror}"}))
        finally:
            self._request[:size] = bytes(size)
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _fork(self, size: int, descriptors: list[int], *, is_cut_short: bool) -> None:
        read_end, write_end = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(read_end)
            os.close(write_end)
            raise
        if pid == 0:
            request = None if is_cut_short else bytes(self._request[:size])
            run_intermediate(request, descriptors, write_end, self._fork_hooks)
        os.close(write_end)
        self._pending[read_end] = pid
        self._poll.register(read_end, 0)  # wakes at the hang-up only

    def _finish(self, read_end: int) -> None:
        """Reap an intermediate that is exiting, its pipe has closed, and pass on what it said."""
        self._poll.unregister(read_end)
        told = os.read(read_end, MAX_TOLD_BYTES)
        os.close(read_end)
        os.waitpid(self._pending.pop(read_end), 0)
        if not told:
            self._reply(pack({"id": None, "error": "an intermediate process died"}))
            return
        reply, profile = cast("Told", unpack(told))
        self._reply(reply)
        if profile:
            keep_ready(profile)

    def _reply(self, reply: bytes) -> None:
        with contextlib.suppress(OSError):  # the supervisor has gone; the next read says so
            self._sock.send(reply)


def _descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return list(descriptors)


def _take_own_session() -> None:
    """Leave the terminal: Ctrl-C is the supervisor's business.

    SIGINT gets its default action here, once, so that executors have it from their birth: an
    interrupt raised in the middle of the runtime's own loop would leave it half-way.
    """
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _has_peer_gone(sock: socket.socket) -> bool:
    """Tell an empty message from the end of the stream; SEQPACKET reads both as no bytes."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


def _keep_standard_descriptors_open() -> None:
    """Fill 0..2, so that descriptors received later never land there."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > SUPERVISOR_FD:
            os.close(fd)
            return
