"""The zygote: a small single-threaded process that forks executors and does nothing else.

It is started first, with an empty environment, so nothing of the supervisor's secrets or threads
can reach an executor; what handlers usually import is loaded and frozen once, so forks share it.

    zygote --fork--> intermediate --fork--> executor
                     takes a request,        adopted by the supervisor (its subreaper)
                     writes the reply,
                     exits

One intermediate is forked ahead and waits for the next request, so that nobody waits for its fork.
It takes the request from the supervisor's socket itself: requests may hold secrets of a worker, and
whatever the zygote has in memory is inherited by all later executors.

The reply is sent on when the intermediate has been reaped: only then is the executor the
supervisor's own child, and a reply means that it can be waited for. Only a child that is exiting is
waited for.
"""

from __future__ import annotations

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
from workmanager_executor.intermediate import MAX_TOLD_BYTES, TAKEN, receive, run_intermediate
from workmanager_executor.logs import capture_output
from workmanager_executor.packing import pack, unpack
from workmanager_executor.rehearsal import rehearse

if TYPE_CHECKING:
    from typing import Dict, Tuple

    from workmanager_executor.process import ForkHooks

    Told = Tuple[bytes, Dict[str, object]]  # by our own intermediate

SUPERVISOR_FD = 3
PRELOADED = (
    *("asyncio", "collections.abc", "concurrent.futures", "contextlib", "dataclasses"),
    *("datetime", "decimal", "enum", "faulthandler", "functools", "hashlib", "inspect"),
    *("itertools", "json", "linecache", "logging", "math", "os.path", "pathlib", "random"),
    *("re", "threading", "time", "traceback", "typing", "uuid"),
)

_NOBODY = -1


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
        self._waiting = _NOBODY  # pipe of the intermediate that waits for a request
        self._pids: dict[int, int] = {}  # of the intermediates, by their pipes
        self._poll = select.poll()

    def serve(self) -> None:
        """See to it that requests are taken, until the supervisor has gone."""
        self._poll.register(self._sock, 0)
        self._fork_ahead()
        while True:
            for fd, event in self._poll.poll():
                if fd == self._waiting:
                    self._note_taken(fd)
                elif fd in self._pids:
                    self._finish(fd)
                elif event & select.POLLHUP:
                    return
                elif self._waiting == _NOBODY:
                    self._fork_for_request()

    def _fork(self) -> None:
        own_pid = os.getpid()
        read_end, write_end = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(read_end)
            os.close(write_end)
            raise
        if pid == 0:
            run_intermediate(self._sock, write_end, own_pid, self._fork_hooks)
        os.close(write_end)
        self._pids[read_end] = pid
        self._waiting = read_end
        self._poll.register(read_end, select.POLLIN)
        self._poll.modify(self._sock, 0)  # requests are the intermediate's business

    def _fork_ahead(self) -> None:
        try:
            self._fork()
        except OSError:  # whoever asks next is told, if it is still so
            self._poll.modify(self._sock, select.POLLIN)

    def _fork_for_request(self) -> None:
        try:
            self._fork()
        except OSError as error:
            _, descriptors = receive(self._sock, 0)
            for descriptor in descriptors:
                os.close(descriptor)
            self._reply(pack({"id": None, "error": f"cannot fork: {error.strerror}"}))

    def _note_taken(self, read_end: int) -> None:
        """Watch for the next request; what has taken this one wakes us when it has hung up."""
        self._waiting = _NOBODY
        self._poll.modify(self._sock, select.POLLIN)
        if os.read(read_end, len(TAKEN)):
            self._poll.modify(read_end, 0)
        else:  # it was killed while it waited: nobody's request
            self._reap(read_end)

    def _finish(self, read_end: int) -> None:
        """Reap an intermediate that is exiting, its pipe has closed, and pass on what it said."""
        told = os.read(read_end, MAX_TOLD_BYTES)
        self._reap(read_end)
        if told:
            reply, profile = cast("Told", unpack(told))
            self._reply(reply)
            if profile:
                keep_ready(profile)
        else:
            self._reply(pack({"id": None, "error": "an intermediate process died"}))
        if self._waiting == _NOBODY:
            self._fork_ahead()

    def _reap(self, read_end: int) -> None:
        self._poll.unregister(read_end)
        os.close(read_end)
        os.waitpid(self._pids.pop(read_end), 0)

    def _reply(self, reply: bytes) -> None:
        with contextlib.suppress(OSError):  # the supervisor has gone; the next poll says so
            self._sock.send(reply)


def _take_own_session() -> None:
    """Leave the terminal: Ctrl-C is the supervisor's business.

    SIGINT gets its default action here, once, so that executors have it from their birth: an
    interrupt raised in the middle of the runtime's own loop would leave it half-way.
    """
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _keep_standard_descriptors_open() -> None:
    """Fill 0..2, so that descriptors received later never land there."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > SUPERVISOR_FD:
            os.close(fd)
            return
