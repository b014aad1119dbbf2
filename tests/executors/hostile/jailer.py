"""`python -I -S jailer.py [--uid N] EXECUTOR_FOLDER`: runs attacks in real sandboxes, on request.

It plays the supervisor and the zygote: single-threaded, in an empty network namespace, subreaper.
One line of JSON in, one out:

    {"attack": name, "level", "uid", "cap_s"}   -> {"verdict", "detail", "how"}
    {"code": text, "profile": {...}, "cap_s"}   -> the same; "told": what tell() was given
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import json
import os
import socket
import struct
import sys
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
GROUPS = ("resources", "disk", "reading", "signals", "ipc", "lifecycle", "files", "network")
GROUPS += ("kernel", "privileges")
LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    arguments = sys.argv[1:]
    uid = int(arguments[1]) if arguments[:1] == ["--uid"] else None
    sys.path[:0] = [HERE, arguments[-1]]
    _own_network()
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        LIBC.prctl(4, 1, 0, 0, 0)  # dumpable, as after an exec
    assert LIBC.prctl(36, 1, 0, 0, 0) == 0  # subreaper
    for group in GROUPS:
        importlib.import_module(group)
    from yard import Yard

    with Yard() as yard:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(_answer(yard, json.loads(line))) + "\n")
            sys.stdout.flush()


def _answer(yard: Any, request: dict[str, Any]) -> dict[str, str]:
    return _run_code(yard, request) if "code" in request else _run_attack(yard, request)


def _run_code(yard: Any, request: dict[str, Any]) -> dict[str, str]:
    """Run honest code in any profile; "scratchPath": true asks for a fresh folder."""
    from jail import Code, Jail

    profile = dict(request["profile"])
    if profile.get("scratchPath") is True:
        profile["scratchPath"] = yard.make_scratch()
    targets = yard.targets(profile.get("scratchPath") or "/tmp")
    return Jail(profile, float(request["cap_s"]), yard.victim).run(Code(request["code"]), targets)


def _run_attack(yard: Any, request: dict[str, Any]) -> dict[str, str]:
    from cage import ATTACKS
    from jail import Jail

    attack = ATTACKS[request["attack"]]
    profile = {
        "level": request["level"],
        "uid": request.get("uid"),
        **yard.limits(),
        **attack.profile,
    }
    scratch = "/tmp"
    if request["level"] in ("none", "basic"):
        scratch = profile["scratchPath"] = yard.make_scratch()
    targets = yard.targets(scratch)
    answer = Jail(profile, float(request["cap_s"]), yard.victim).run(attack, targets)
    evidence = attack.after(targets) if attack.after else None
    if attack.aims_at_victim:
        evidence = yard.ask_victim()
    if evidence and answer["verdict"] != "broken":
        answer = {"verdict": "escaped", "detail": evidence, "how": answer["how"]}
    if evidence or request["level"] == "none":
        yard.mend(new_victim=attack.group == "signals")  # dead, stopped, niced, pinned
    return answer


def _own_network() -> None:
    """Network attacks meet an empty network; without root that takes a user namespace."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        assert LIBC.unshare(0x40000000) == 0
    else:
        assert LIBC.unshare(0x10000000 | 0x40000000) == 0, "no user namespaces here"
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 1))
    if uid != 0:  # what the user namespace gave, an ordinary user would not have
        header = ctypes.create_string_buffer(struct.pack("=II", 0x20080522, 0), 8)
        assert LIBC.capset(header, ctypes.create_string_buffer(24)) == 0


if __name__ == "__main__":
    main()
