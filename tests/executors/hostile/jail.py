"""One executor with one attack in it: forked as the zygote forks, watched, killed, reaped."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import tempfile
import time
from typing import Any, NoReturn

import sandbox
from cage import Escaped

RECORDS: list[object] = []  # of the sandbox that this process is in


class Told(Exception):
    """Code of a test has something to tell."""


class Code:
    """Honest code of a test, run like an attack; it knows `targets`, `records` and `tell`."""

    def __init__(self, text: str) -> None:
        self._code = compile(text, "<test>", "exec")

    def run(self, targets: Any) -> None:
        def tell(value: object) -> NoReturn:
            raise Told(json.dumps(value))

        exec(self._code, {"targets": targets, "tell": tell, "records": RECORDS})


class Jail:
    """Runs one attack to its end, or to the end of its time."""

    def __init__(self, profile: dict[str, Any], cap_s: float, victim: int) -> None:
        self._profile = profile
        self._cap_s = cap_s
        self._victim = victim

    def run(self, attack: Any, targets: Any) -> dict[str, str]:
        try:
            prepared = sandbox.prepare(self._profile)
        except sandbox.SandboxError as error:
            return {"verdict": "unavailable", "detail": str(error), "how": ""}
        if prepared.identity is not None and self._profile.get("scratchPath"):
            os.chown(self._profile["scratchPath"], *prepared.identity)
        tempfile.tempdir = None  # ours; the executor's is what its environment says
        ours, theirs = socket.socketpair()
        pid_end, pid_write_end = os.pipe()
        intermediate = os.fork()
        if intermediate == 0:
            _be_intermediate(prepared, attack, targets, theirs, pid_write_end)
        theirs.close()
        os.close(pid_write_end)
        told = os.read(pid_end, 4)
        os.close(pid_end)
        os.waitpid(intermediate, 0)
        executor = struct.unpack("=I", told)[0] if len(told) == 4 else 0
        with ours:
            return self._watch(ours, executor)

    def _watch(self, events: socket.socket, executor: int) -> dict[str, str]:
        text = _read_verdict(events, self._cap_s)
        status = kill_and_reap(executor) if executor else None
        survivors = _end_survivors(self._victim)
        how = "" if status is None else _describe(status)
        if survivors:
            detail = f"{len(survivors)} processes outlived the executor"
            return {"verdict": "escaped", "detail": detail, "how": how}
        if not text:
            return {"verdict": "contained", "detail": "no word from it", "how": how}
        try:
            return {**json.loads(text.splitlines()[-1]), "how": how}
        except ValueError:
            return {"verdict": "broken", "detail": repr(text[:2000]), "how": how}


def kill_and_reap(pid: int) -> int | None:
    """Kill a child and return its wait status; None if it is none."""
    try:
        os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1]
    except (ProcessLookupError, ChildProcessError):
        return None


def _be_intermediate(
    prepared: Any, attack: Any, targets: Any, events: socket.socket, pid_write_end: int
) -> NoReturn:
    try:
        _take_descriptors(events.fileno())
        departure_fd = sandbox.separate(prepared)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            _be_executor(prepared, departure_fd, attack, targets)
        os.write(pid_write_end, struct.pack("=I", pid))
    except BaseException as error:  # noqa: BLE001
        _tell("broken", f"separate: {error!r}")
    finally:
        os._exit(0)


def _be_executor(prepared: Any, departure_fd: int, attack: Any, targets: Any) -> NoReturn:
    try:
        RECORDS[:] = sandbox.settle(prepared, departure_fd)
        attack.run(targets)
    except Told as told:
        _tell("told", str(told))
    except Escaped as error:
        _tell("escaped", str(error))
    # setrlimit refuses with ValueError; CPython has SystemError where MemoryError found no room.
    except (OSError, MemoryError, SystemError, ValueError) as error:
        _tell("contained", repr(error))
    except BaseException as error:  # noqa: BLE001
        _tell("broken", repr(error))
    else:
        _tell("contained", "nothing gained")
    finally:
        os._exit(0)


def _tell(verdict: str, detail: str) -> None:
    os.write(3, json.dumps({"verdict": verdict, "detail": detail[:32000]}).encode() + b"\n")


def _take_descriptors(events: int) -> None:
    """0 and the logs go nowhere; 3 and 4 are the channel."""
    null = os.open(os.devnull, os.O_RDWR)
    kept = fcntl.fcntl(events, fcntl.F_DUPFD, 64)
    for target in (0, 1, 2):
        os.dup2(null, target)
    for target in (3, 4):
        os.dup2(kept, target)


def _read_verdict(events: socket.socket, cap_s: float) -> bytes:
    """What the executor says until its verdict, its end, or the end of its time."""
    deadline = time.monotonic() + cap_s
    text = b""
    while not text.endswith(b"}\n"):
        remaining_s = max(0.0, deadline - time.monotonic())
        if not select.select([events], [], [], remaining_s)[0]:
            break
        chunk = events.recv(65536)
        if not chunk:
            break
        text += chunk
    return text


def _end_survivors(victim: int) -> list[int]:
    """Processes that the dead executor left to us, the subreaper; they are ended here."""
    found = []
    for _ in range(100):  # each one that dies may leave us more
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as children:
            pids = [int(pid) for pid in children.read().split() if int(pid) != victim]
        if not pids:
            break
        for pid in pids:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                found.append(pid)
                kill_and_reap(pid)
    return found


def _describe(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit {os.WEXITSTATUS(status)}"
