"""Drives real zygotes and real executors over real sockets, as the supervisor would.

Everything blocks with a deadline, so a test that waits for what never comes fails by itself.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgpack

import workmanager_executor
from workmanager_executor.frames import Decoder, encode

DEADLINE_S = 20.0
MAIN = Path(workmanager_executor.__file__).with_name("__main__.py")
MSGPACK_FOLDER = Path(msgpack.__file__).parent.parent
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Adopt orphaned executors, as the supervisor does."""
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


@dataclass
class ZygoteProcess:
    """A running zygote; use it as a context manager."""

    pid: int
    sock: socket.socket
    _next_id: int = 0
    _replies: dict[str | None, dict] = field(default_factory=dict)

    @classmethod
    def start(cls) -> ZygoteProcess:
        become_subreaper()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(DEADLINE_S)
        command = [sys.executable, "-I", "-S", str(MAIN), "zygote"]
        command += ["--msgpack", str(MSGPACK_FOLDER)]
        with theirs:
            actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)]
            pid = os.posix_spawn(command[0], command, {}, file_actions=actions)
        return cls(pid, ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()
        assert wait_exit(self.pid) == 0

    def post(self, request: object, descriptors: list[int]) -> None:
        body = request if isinstance(request, bytes) else msgpack.packb(request)
        rights = array.array("i", descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        self.sock.sendmsg([body], ancillary)

    def reply(self, request_id: str | None) -> dict:
        while request_id not in self._replies:
            message = msgpack.unpackb(self.sock.recv(65536))
            self._replies[message["id"]] = message
        return self._replies.pop(request_id)

    def request(self, **fields: object) -> dict:
        self._next_id += 1
        base = {"op": "spawn", "id": f"r{self._next_id}", "python": None, "env": {}}
        return {**base, "limits": {}, "sandbox": {}, "cwd": None, "title": "test", **fields}

    def spawn(self, **fields: object) -> Executor:
        request = self.request(**fields)
        events, their_events = socket.socketpair()
        control, their_control = socket.socketpair()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        theirs = [their_events.fileno(), their_control.fileno(), out_write, err_write]
        self.post(request, theirs)
        their_events.close()
        their_control.close()
        os.close(out_write)
        os.close(err_write)
        reply = self.reply(request["id"])
        assert "pid" in reply, reply
        return Executor(reply["pid"], Peer(events), Peer(control), out_read, err_read)


class Peer:
    """The supervisor's end of one channel."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE_S)
        self.sock = sock
        self._decoder = Decoder()
        self._frames: list[list] = []

    def send(self, *frame: object) -> None:
        self.sock.sendall(encode(list(frame)))

    def receive(self) -> list | None:
        """Return the next frame; None at the end of the stream."""
        while not self._frames:
            try:
                chunk = self.sock.recv(65536)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    raise
                return None  # reset by the peer, or closed by the test
            if not chunk:
                return None
            self._frames += self._decoder.feed(chunk)
        return self._frames.pop(0)

    def close(self) -> None:
        """Close our end; a background reader ends with it."""
        if self.sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
            self.sock.close()

    def collect(self) -> list[list]:
        """Read in the background from now on; the list that is returned grows."""
        frames: list[list] = []
        threading.Thread(target=lambda: frames.extend(iter(self.receive, None))).start()
        return frames

    def expect(self, kind: str) -> list:
        frame = self.receive()
        assert frame is not None, f"end of stream instead of {kind}"
        assert frame[0] == kind, frame
        return frame


@dataclass
class Executor:
    """A running executor; killed and reaped at the end of the `with` block."""

    pid: int
    events: Peer
    control: Peer
    stdout: int
    stderr: int
    exit_code: int | None = None
    _next_no: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()
        self.events.close()
        self.control.close()
        os.close(self.stdout)
        os.close(self.stderr)

    def load(self, code: str | bytes, **fields: object) -> list:
        """Send LOAD after HELLO and return the answer: ready or refused."""
        self.hello = self.events.expect("hello")[1]
        self.events.send("load", job(code, **fields))
        answer = self.events.receive()
        assert answer is not None, f"died while loading: {self.read_stderr()}"
        return answer

    def ready(self, code: str | bytes, **fields: object) -> Executor:
        answer = self.load(code, **fields)
        assert answer[0] == "ready", answer
        return self

    def item(self, data: object = None, **attributes: object) -> list:
        self._next_no += 1
        event_id = f"e{self._next_no}"
        return [self._next_no, self._next_no << 16, 1, wire(data, id=event_id, **attributes), None]

    def run(self, *items: list) -> list[list]:
        """Send *items* in one frame and return their outcomes in order of their numbers."""
        self.events.send("run", list(items))
        return self.outcomes(len(items))

    def run_one(self, data: object = None, **attributes: object) -> list:
        (outcome,) = self.run(self.item(data, **attributes))
        return outcome

    def outcomes(self, count: int) -> list[list]:
        found: list[list] = []
        while len(found) < count:
            found += self.events.expect("done")[1]
        assert len(found) == count
        return sorted(found)

    def drain(self) -> int:
        self.events.send("drain")
        self.events.expect("bye")
        return self.wait()

    def wait(self) -> int:
        self.exit_code = wait_exit(self.pid)
        return self.exit_code

    def read_stdout(self) -> str:
        return _read_available(self.stdout)

    def read_stderr(self) -> str:
        return _read_available(self.stderr)


def wire(data: object = None, **attributes: object) -> bytes:
    """Return an event in wire form; *data* is made JSON unless it is bytes."""
    import json

    base = {"specversion": "1.0", "id": "e", "source": "/test", "type": "test.event"}
    if data is not None and not isinstance(data, bytes):
        base["datacontenttype"] = "application/json"
        data = json.dumps(data).encode()
    given = {name: value for name, value in attributes.items() if value is not None}
    return msgpack.packb([{**base, **given}, data])


def job(code: str | bytes, **fields: object) -> dict:
    """Return the body of a LOAD frame."""
    code = code.encode() if isinstance(code, str) else code
    return {
        "engine": "text/x-python",
        "code": code,
        "handler": "",
        "worker": "orders",
        "workerUid": "uid-1",
        "version": "v1",
        "group": None,
        "perExecutor": 1,
        "batchSize": 1,
        "startToCloseS": 30.0,
        "maxAttempts": 3,
        "maxOutputs": 100,
        "maxOutputBytes": 1 << 20,
        "logLimitBytes": 1 << 16,
        "config": {},
        **fields,
    }


def wait_exit(pid: int) -> int:
    """Reap *pid* and return its exit code, negative for a signal."""
    pidfd = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([pidfd], [], [], DEADLINE_S)
        assert ready, f"process {pid} does not end"
    finally:
        os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _read_available(fd: int) -> str:
    """Read to the end, or what there is within a moment while the writer lives."""
    text = b""
    deadline = time.monotonic() + DEADLINE_S
    while select.select([fd], [], [], 0.05)[0] and time.monotonic() < deadline:
        chunk = os.read(fd, 65536)
        if not chunk:
            break
        text += chunk
    return text.decode("utf-8", "replace")
