"""The zygote: a small single-threaded process that forks executors and does nothing else.

It is started first, with an empty environment, so nothing of the supervisor's secrets or threads
can reach an executor; what handlers usually import is loaded and frozen once, so forks share it.

    zygote --fork--> intermediate --fork--> executor
                     writes the pid, exits   adopted by the supervisor (its subreaper)

The reply is sent when the intermediate has been reaped: only then is the executor the supervisor's
own child, and a reply means that it can be waited for. Only a child that is exiting is waited for.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import struct
from typing import NoReturn

from workmanager_executor import linux
from workmanager_executor.logs import capture_output
from workmanager_executor.packing import pack
from workmanager_executor.process import become_executor
from workmanager_executor.spawning import DESCRIPTORS, RequestError, SpawnRequest, parse_request

SUPERVISOR_FD = 3
MAX_REQUEST_BYTES = 1024 * 1024  # the kernel's socket buffer is the tighter bound
PRELOADED = (
    *("asyncio", "collections.abc", "concurrent.futures", "contextlib", "dataclasses"),
    *("datetime", "decimal", "enum", "faulthandler", "functools", "hashlib", "inspect"),
    *("itertools", "json", "linecache", "logging", "math", "os.path", "pathlib", "random"),
    *("re", "threading", "time", "traceback", "typing", "uuid"),
    "workmanager_executor.executor",
)

_PID = struct.Struct("=i")


def main() -> NoReturn:
    """Serve spawn requests until the supervisor's end of the socket closes."""
    _keep_standard_descriptors_open()
    for name in PRELOADED:
        importlib.import_module(name)
    _take_own_session()
    capture_output()
    linux.use_one_malloc_arena()
    linux.set_process_name("wm-zygote")
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=SUPERVISOR_FD) as sock:
        Zygote(sock).serve()
    os._exit(0)


class Zygote:
    """Serves one supervisor on a SEQPACKET socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pending: dict[int, tuple[int, str]] = {}  # pipe -> intermediate, request id
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
        """Take one message; False when the supervisor has gone."""
        message, descriptors, flags, _ = socket.recv_fds(
            self._sock, MAX_REQUEST_BYTES, DESCRIPTORS + 1, socket.MSG_CMSG_CLOEXEC
        )
        if not message and not descriptors:
            return not _has_peer_gone(self._sock)
        refused: RequestError | None = None
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise RequestError("request is too large or has too many descriptors")
            self._spawn(parse_request(message, len(descriptors)), descriptors)
        except RequestError as error:
            refused = error
        for descriptor in descriptors:
            os.close(descriptor)
        if refused is not None:
            self._reply(refused.request_id, error=str(refused))
        return True

    def _spawn(self, request: SpawnRequest, descriptors: list[int]) -> None:
        try:
            read_end, write_end = os.pipe()
        except OSError as error:
            raise RequestError(f"cannot make a pipe: {error.strerror}", request.id) from None
        try:
            pid = os.fork()
        except OSError as error:
            os.close(read_end)
            os.close(write_end)
            raise RequestError(f"cannot fork: {error.strerror}", request.id) from None
        if pid == 0:
            _run_intermediate(request, descriptors, write_end)
        os.close(write_end)
        self._pending[read_end] = (pid, request.id)
        self._poll.register(read_end, 0)  # wakes at the hang-up only

    def _finish(self, read_end: int) -> None:
        """Reap an intermediate that is exiting, its pipe has closed, and answer its request."""
        self._poll.unregister(read_end)
        intermediate, request_id = self._pending.pop(read_end)
        told = os.read(read_end, 4096)
        os.close(read_end)
        os.waitpid(intermediate, 0)
        self._answer(request_id, told)

    def _answer(self, request_id: str, told: bytes) -> None:
        pid = _PID.unpack_from(told)[0] if len(told) >= _PID.size else 0
        if pid > 0:
            self._reply(request_id, pid=pid)
        else:
            reason = told[_PID.size :].decode("utf-8", "replace")
            self._reply(request_id, error=reason or "intermediate process died")

    def _reply(self, request_id: str | None, **fields: object) -> None:
        with contextlib.suppress(OSError):  # the supervisor has gone; the next read says so
            self._sock.send(pack({"id": request_id, **fields}))


def _run_intermediate(request: SpawnRequest, descriptors: list[int], write_end: int) -> NoReturn:
    """Fork the executor, tell its pid and exit, so that the executor is adopted."""
    try:
        own_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            become_executor(request, descriptors, own_pid)
        os.write(write_end, _PID.pack(pid))
    except OSError as error:
        os.write(write_end, _PID.pack(0) + f"cannot fork: {error.strerror}".encode())
    finally:
        os._exit(0)


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
