"""What this host can give: each level's whole chain, tried in throw-away processes.

Reading sysctls and versions answers wrongly (AppArmor lets unshare pass and then denies the
capabilities, a container masks /proc, a unit's filter denies Landlock): doing it is the only proof.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from . import syscalls
from .chain import separate, settle
from .errors import SandboxError
from .numbers import machine
from .prepared import prepare
from .profile import NOBODY

PROBED_LEVELS = ("uid", "full", "basic")  # strongest first
TIMEOUT_S = 5.0

_PR_SET_CHILD_SUBREAPER = 36
_ANSWER_MAX_BYTES = 65536
_UNUSED_MODULE = "colorsys"  # surely not imported yet, in every standard library, and tiny


_FORBIDDEN: Tuple[Tuple[str, Callable[[], object]], ...] = (
    ("landlock", lambda: os.open("/", os.O_WRONLY | os.O_TMPFILE, 0o600)),
    ("landlock", lambda: os.open("/etc/shadow", os.O_RDONLY)),
    ("capabilities", lambda: os.setgroups([])),
    ("seccomp", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
)


def probe(extra: Optional[Mapping[str, object]] = None) -> Dict[str, object]:
    """Try every level and say how far each got; in a single-threaded process of its own.

    Args:
        extra: Fields to probe with (runtimePaths, network, engine, required, ...) beside the level.

    Returns:
        `{"machine", "kernel", "landlockAbi", "highest": level, "levels": {level: {"ok",
        "layer": name or None, "detail", "records": [record]}}}`; "none" always passes.
    """
    syscalls.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    levels = {level: _try_level({**(extra or {}), "level": level}) for level in PROBED_LEVELS}
    passed = [level for level in PROBED_LEVELS if levels[level]["ok"]]
    return {
        "machine": machine(),
        "kernel": os.uname().release,
        "landlockAbi": syscalls.landlock_abi(),
        "highest": passed[0] if passed else "none",
        "levels": levels,
    }


def main(arguments: List[str]) -> None:
    """Print the answer of `probe` as JSON; the one argument may be a profile, as JSON."""
    extra = json.loads(arguments[0]) if arguments else {}
    sys.stdout.write(json.dumps(probe(extra)) + "\n")


def _try_level(fields: Dict[str, object]) -> Dict[str, object]:
    if fields["level"] == "uid":
        fields = {"uid": NOBODY, **fields}
    try:
        prepared = prepare(fields)
    except SandboxError as error:
        return _failure(error.layer, error.detail)
    answer_end, child_end = os.pipe()
    events_end, events_childs_end = socket.socketpair()
    intermediate = os.fork()
    if intermediate == 0:
        try:
            _take_descriptors(child_end, events_childs_end.fileno())
            departure_fd = separate(prepared)
            if os.fork() == 0:
                records = settle(prepared, departure_fd)
                _check()
                _answer({"ok": True, "layer": None, "detail": "", "records": records})
        except SandboxError as error:
            _answer(_failure(error.layer, error.detail))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
            _answer(_failure("profile", repr(error)))
        finally:
            os._exit(0)
    os.close(child_end)
    events_childs_end.close()
    try:
        return _read_answer(answer_end)
    finally:
        os.close(answer_end)
        events_end.close()
        _reap_all()


def _failure(layer: str, detail: str) -> Dict[str, object]:
    return {"ok": False, "layer": layer, "detail": detail, "records": []}


def _take_descriptors(answer: int, events: int) -> None:
    """0-4 as an executor has them; the answer goes out on 1."""
    null = os.open(os.devnull, os.O_RDWR)
    for target, source in enumerate((null, answer, null, events, events)):
        os.dup2(source, target)
    os.setsid()


def _check() -> None:
    """Try from inside what has to work and what must not.

    Raises:
        SandboxError: A layer reports success and does not hold.
    """
    try:
        __import__(_UNUSED_MODULE)
    except ImportError as error:
        raise SandboxError("root", f"the interpreter does not work inside: {error}") from error
    for layer, attempt in _FORBIDDEN:
        _must_fail(layer, attempt)


def _must_fail(layer: str, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except OSError:
        return
    raise SandboxError(layer, "applied without an error, but it does not hold")


def _answer(answer: Mapping[str, object]) -> None:
    os.write(1, json.dumps(answer).encode())
    os._exit(0)


def _read_answer(descriptor: int) -> Dict[str, object]:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(TIMEOUT_S * 1000):
        return _failure("profile", f"no answer within {TIMEOUT_S} s")
    text = os.read(descriptor, _ANSWER_MAX_BYTES)
    if not text:
        return _failure("profile", "the probe died without an answer")
    answer: Dict[str, object] = json.loads(text)
    return answer


def _reap_all() -> None:
    """End and collect what is left of the probe; this process has no other children."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as children:
        for pid in map(int, children.read().split()):
            os.kill(pid, signal.SIGKILL)
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return
