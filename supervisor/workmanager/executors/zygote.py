"""The supervisor's end of the zygote: start it, ask it for executors, start it again if it dies.

The zygote is a small single-threaded Python process with the executor runtime imported. Forking
it takes milliseconds and shares its pages; forking the supervisor would hand its memory, secrets
included, to user code, and is unsafe beside threads. Executors are adopted by the supervisor
(PR_SET_CHILD_SUBREAPER), so they live on when their zygote dies.
"""

from __future__ import annotations

import array
import ctypes
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import structlog
import trio

import workmanager_executor
from workmanager.errors import WorkManagerError
from workmanager_executor.zygote import SUPERVISOR_FD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PR_SET_CHILD_SUBREAPER = 36
MAX_MESSAGE_BYTES = 128 * 1024  # below the default socket buffer: SEQPACKET sends whole messages
SPAWN_TIMEOUT_S = 10.0
RESTART_DELAY_S = 0.2
END_MS = 500  # some two are usual

log = structlog.get_logger()


class SpawnError(WorkManagerError):
    """No executor process could be made; the message says what the zygote said."""


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """What an executor process is made of, before any user code is known to it.

    Attributes:
        python: Another interpreter to run; None for the service's own.
        env: The whole environment of the executor.
        limits: rlimits by name, see the executor's `limits` module.
        sandbox: Profile handed to the executor's sandbox; empty for none.
        members: Open `cgroup.procs` files of the groups that it is born into.
    """

    id: str
    python: str | None
    env: Mapping[str, str]
    limits: Mapping[str, int]
    sandbox: Mapping[str, Any]
    title: str
    members: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Spawned:
    """A new executor process: its pid, a pidfd, and our ends of its channels and log pipes."""

    pid: int
    pidfd: int
    events: socket.socket
    control: socket.socket
    stdout: int
    stderr: int


def executor_main() -> Path:
    """Return the file that runs the executor side by path."""
    return Path(workmanager_executor.__file__).with_name("__main__.py")


def msgpack_folder() -> Path:
    """Return the folder that holds the msgpack package, for interpreters that lack it."""
    return Path(msgpack.__file__).parent.parent


def become_subreaper() -> None:
    """Make this process adopt its orphaned descendants (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Zygote:
    """Makes executors; one task `run` keeps the process alive.

    Args:
        role: What its executors run: "zygote" for Python, "dotnet" for .NET.
        packages: Folders of the Python packages that executors of .NET import.
    """

    def __init__(self, role: str = "zygote", packages: Sequence[str] = ()) -> None:
        self._role = role
        self._packages = packages
        self._pid: int | None = None
        self._sock: socket.socket | None = None
        self._ids = count(1)
        self._replies: dict[str, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._up = trio.Event()
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The zygote's pid; None while there is none."""
        return self._pid

    @property
    def is_spawning(self) -> bool:
        """Whether an executor may exist that nobody here knows by its pid yet."""
        return bool(self._replies)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a zygote running until cancelled; the first one is up when this has started."""
        try:
            self._start()
            task_status.started()
            while True:
                await self._read_replies()
                self._lost()
                while self._sock is None:
                    await trio.sleep(RESTART_DELAY_S)
                    self.restarts += 1
                    self._start_again()
        finally:
            self._stop()

    async def spawn(self, request: SpawnRequest) -> Spawned:
        """Make an executor process.

        Raises:
            SpawnError: The zygote refused, died, or did not answer within 10 seconds.
        """
        ours, theirs = _make_ends()
        try:
            reply = await self._ask(request, theirs)
            pid = reply.get("pid")
            if not isinstance(pid, int):
                raise SpawnError(f"no executor process: {reply.get('error', 'no answer')}")
            return Spawned(pid, os.pidfd_open(pid), *ours)
        except BaseException:
            _close_ends(ours)
            raise
        finally:
            _close_ends(theirs)

    async def _ask(self, request: SpawnRequest, fds: _Ends) -> dict[str, Any]:
        with trio.move_on_after(SPAWN_TIMEOUT_S):
            await self._up.wait()
            key = f"{next(self._ids)}"
            send, receive = trio.open_memory_channel[dict[str, Any]](1)
            self._replies[key] = send
            try:
                self._post(key, request, fds)
                return await receive.receive()
            except trio.EndOfChannel:
                return {"error": "the zygote died; it is started again"}
            finally:
                self._replies.pop(key, None)
        return {"error": f"the zygote did not answer within {SPAWN_TIMEOUT_S:g} s"}

    def _post(self, key: str, request: SpawnRequest, ends: _Ends) -> None:
        message = msgpack.packb(
            {
                "op": "spawn",
                "id": key,
                "python": request.python,
                "env": dict(request.env),
                "limits": dict(request.limits),
                "sandbox": dict(request.sandbox),
                "cwd": None,
                "title": request.title,
            }
        )
        if len(message) > MAX_MESSAGE_BYTES:
            raise SpawnError(f"environment and profile are over {MAX_MESSAGE_BYTES} bytes")
        given = [e if isinstance(e, int) else e.fileno() for e in ends]
        fds = array.array("i", [*given, *request.members])
        assert self._sock is not None  # noqa: S101 - `_up` is set
        try:
            self._sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except OSError as error:
            raise SpawnError(f"the zygote does not take requests: {error.strerror}") from error

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        command = [sys.executable, "-I", "-S", str(executor_main()), self._role]
        if self._packages:
            command += ["--packages", os.pathsep.join(self._packages)]
        command += ["--msgpack", str(msgpack_folder())]
        with theirs:
            # Not subprocess: the socket has to become descriptor 3. A session of its own, so that
            # Ctrl-C on a terminal reaches the supervisor alone, which ends the rest in order.
            actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), SUPERVISOR_FD)]
            self._pid = os.posix_spawn(command[0], command, {}, file_actions=actions, setsid=True)
        self._sock = ours
        self._up.set()

    def _start_again(self) -> None:
        try:
            self._start()
        except OSError as error:  # out of processes or memory: it may pass
            log.warning("zygote_not_started", error=str(error))

    async def _read_replies(self) -> None:
        assert self._sock is not None  # noqa: S101 - started
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                message = self._sock.recv(MAX_MESSAGE_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not message:
                return
            reply = msgpack.unpackb(message)
            waiting = self._replies.get(reply.get("id"))
            if waiting is not None:
                waiting.send_nowait(reply)

    def _lost(self) -> None:
        log.error("zygote_exited", role=self._role, pid=self.pid)
        self._up = trio.Event()
        for waiting in self._replies.values():
            waiting.close()
        self._stop()

    def _stop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._pid is not None:
            _await_end(self._pid)
            self._pid = None


def _await_end(pid: int) -> None:
    """Reap the zygote, which ends with its socket and then leaves no child of its own behind."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(END_MS):
        os.kill(pid, signal.SIGKILL)
    os.close(pidfd)
    os.waitpid(pid, 0)


_Ends = tuple[socket.socket, socket.socket, int, int]


def _make_ends() -> tuple[_Ends, _Ends]:
    events, child_events = socket.socketpair()
    control, child_control = socket.socketpair()
    out_r, out_w = os.pipe()
    err_r, err_w = os.pipe()
    return (events, control, out_r, err_r), (child_events, child_control, out_w, err_w)


def _close_ends(ends: _Ends) -> None:
    for end in ends:
        if isinstance(end, int):
            os.close(end)
        else:
            end.close()
