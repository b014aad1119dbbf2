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
from typing import TYPE_CHECKING, NamedTuple, NoReturn, cast

from workmanager_executor import linux
from workmanager_executor.caging import keep_ready, map_ids_of
from workmanager_executor.intermediate import (
    MAP_IDS,
    MAX_TOLD_BYTES,
    TAKEN,
    YES,
    receive,
    run_intermediate,
)
from workmanager_executor.logs import capture_output
from workmanager_executor.packing import pack, unpack
from workmanager_executor.rehearsal import rehearse

if TYPE_CHECKING:
    from typing import Dict, List, Tuple

    from workmanager_executor.process import ForkHooks

    Told = List[object]  # by our own intermediate

SUPERVISOR_FD = 3
PRELOADED = (
    *("asyncio", "collections.abc", "concurrent.futures", "contextlib", "dataclasses"),
    *("datetime", "decimal", "enum", "faulthandler", "functools", "hashlib", "inspect"),
    *("itertools", "json", "linecache", "logging", "math", "os.path", "pathlib", "random"),
    *("re", "threading", "time", "traceback", "typing", "uuid"),
)


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


class Intermediate(NamedTuple):
    """A child that waits for a request, or forks the executor of one."""

    pid: int
    ear: socket.socket


class Zygote:
    """Serves one supervisor on a SEQPACKET socket."""

    def __init__(self, sock: socket.socket, fork_hooks: ForkHooks) -> None:
        self._sock = sock
        self._fork_hooks = fork_hooks
        self._children: dict[int, Intermediate] = {}  # by descriptor
        self._waiting: Intermediate | None = None  # for the next request
        self._poll = select.poll()

    def serve(self) -> None:
        """See to it that requests are taken, until the supervisor has gone."""
        self._poll.register(self._sock, 0)
        self._fork_ahead()
        while True:
            for fd, event in self._poll.poll():
                if fd in self._children:
                    self._hear(self._children[fd])
                elif event & select.POLLHUP:
                    self._end()
                    return
                elif self._waiting is None:
                    self._fork_for_request()

    def _fork(self) -> None:
        own_pid = os.getpid()
        ear, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with mouth:
            try:
                pid = os.fork()
            except OSError:
                ear.close()
                raise
            if pid == 0:
                run_intermediate(self._sock, mouth, own_pid, self._fork_hooks)
        self._waiting = self._children[ear.fileno()] = Intermediate(pid, ear)
        self._poll.register(ear, select.POLLIN)
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

    def _hear(self, child: Intermediate) -> None:
        told = child.ear.recv(MAX_TOLD_BYTES)
        if not told:
            self._lose(child)
            return
        kind, *body = cast("Told", unpack(told))
        if kind == TAKEN:
            self._waiting = None
            self._poll.modify(self._sock, select.POLLIN)
        elif kind == MAP_IDS:
            uid, gid = cast("Tuple[int, int]", body)
            with contextlib.suppress(OSError):  # it was killed; the next poll says so
                child.ear.send(YES if map_ids_of(child.pid, (uid, gid)) else b"n")
        else:
            reply, profile = cast("Tuple[bytes, Dict[str, object]]", body)
            self._reap(child)
            self._reply(reply)
            if profile:
                keep_ready(profile)
            if self._waiting is None:
                self._fork_ahead()

    def _lose(self, child: Intermediate) -> None:
        """Bury one that was killed; while it waited, it had nobody's request."""
        self._reap(child)
        if child is self._waiting:
            self._waiting = None
            self._poll.modify(self._sock, select.POLLIN)
        else:
            self._reply(pack({"id": None, "error": "an intermediate process died"}))

    def _reap(self, child: Intermediate) -> None:
        """Wait for one that is exiting."""
        self._poll.unregister(child.ear)
        del self._children[child.ear.fileno()]
        child.ear.close()
        os.waitpid(child.pid, 0)

    def _end(self) -> None:
        """Leave no process behind: nobody waits for those that wait or fork."""
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)

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
