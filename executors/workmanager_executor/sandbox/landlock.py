"""Landlock: what the executor may touch, decided by the kernel at every open.

With an own tree the rules are few, since the tree holds nothing else; without one they are the
whole file policy. All rights of the probed ABI are handled, so what is not granted is refused.

Source: landlock(7); include/uapi/linux/landlock.h. ABI 9 is from the header, not tested here.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import List, Tuple

from . import syscalls
from .profile import PRIVATE_SCRATCH, Profile
from .steps import OPENED_FD, OPENED_SECOND_FD, Step
from .trees import BASIC_READ, BASIC_RUN, OWN_PROC

PORTS_ABI = 4  # from here on TCP ports can be limited

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14

_READ = _READ_FILE | _READ_DIR
_RUN = _READ | _EXECUTE
_SCRATCH = (  # no EXECUTE, no device nodes, no IOCTL_DEV
    (_READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _REFER | _TRUNCATE)
    | (_MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM)
)
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE  # others on a file's rule are EINVAL

_FILE_RIGHTS = (0, 13, 14, 15, 15, 16, 16, 16, 16, 17)  # number of file rights by ABI
_TCP_RIGHTS = 0b11  # bind, connect; from ABI 4
_CONNECT_TCP = 0b10
_SCOPES = 0b11  # abstract unix sockets, signals; from ABI 6
_QUIET = 1  # LOG_SAME_EXEC_OFF, from ABI 7: a hostile executor would flood the audit log

_PATH_BENEATH, _NET_PORT = 1, 2
_LAYER = "landlock"

Rule = Tuple[str, int]  # path, rights


def steps(profile: Profile, abi: int) -> List[Step]:
    """The calls that put the process into its domain; no_new_privs comes before them."""
    attributes = _attributes(abi, handles_tcp=_handles_tcp(profile, abi))
    found = [syscalls.ruleset_step(_LAYER, attributes, OPENED_FD)]
    for path, rights in rules_for(profile):
        found += _path_steps(path, rights & _handled(abi))
    for port in profile.ports if abi >= PORTS_ABI else ():
        rule = struct.pack("=QQ", _CONNECT_TCP, port)
        found.append(syscalls.rule_step(_LAYER, OPENED_FD, _NET_PORT, rule))
    found.append(syscalls.restrict_step(_LAYER, OPENED_FD, _QUIET if abi >= 7 else 0))
    return [*found, Step(_LAYER, "close", os.close, (OPENED_FD,), None)]


def rules_for(profile: Profile) -> List[Rule]:
    """The file rules of *profile*; without an own tree, only for what exists on this host."""
    if profile.has_namespaces:
        return [
            ("/", _RUN),
            (PRIVATE_SCRATCH, _SCRATCH),
            ("/dev/null", _READ_FILE | _WRITE_FILE),
        ]
    runnable = (*BASIC_RUN, *profile.runtime_paths, *profile.foreign_paths)
    rules = [(path, _RUN) for path in runnable]
    readable = (*BASIC_READ, *OWN_PROC[profile.engine], *profile.read_paths)
    rules += [(path, _READ) for path in readable]
    rules = [(path, _fitting(path, rights)) for path, rights in rules if os.path.exists(path)]
    rules.append(("/dev/null", _READ_FILE | _WRITE_FILE))
    if profile.scratch_path:
        rules.append((profile.scratch_path, _SCRATCH))
    return rules


def describe(profile: Profile, abi: int) -> str:
    """What the domain covers, for the record."""
    parts = [f"ABI {abi}", "files"]
    if _handles_tcp(profile, abi):
        parts.append("TCP")
    if abi >= 6:
        parts.append("signals and abstract sockets")
    return ", ".join(parts)


def _handles_tcp(profile: Profile, abi: int) -> bool:
    return abi >= PORTS_ABI and profile.network in ("none", "ports")


def _handled(abi: int) -> int:
    return int((1 << _FILE_RIGHTS[min(abi, len(_FILE_RIGHTS) - 1)]) - 1)


def _attributes(abi: int, *, handles_tcp: bool) -> bytes:
    """Make a struct landlock_ruleset_attr, as long as *abi* knows it."""
    words = [_handled(abi)]
    if abi >= PORTS_ABI:
        words.append(_TCP_RIGHTS if handles_tcp else 0)
    if abi >= 6:
        words.append(_SCOPES)
    return struct.pack(f"={len(words)}Q", *words)


def _path_steps(path: str, rights: int) -> List[Step]:
    mode = os.O_PATH | os.O_CLOEXEC
    rule = struct.pack("=Qi", rights, OPENED_SECOND_FD)
    return [
        Step(_LAYER, f"open {path}", os.open, (path, mode), OPENED_SECOND_FD),
        syscalls.rule_step(_LAYER, OPENED_FD, _PATH_BENEATH, rule),
        Step(_LAYER, f"close {path}", os.close, (OPENED_SECOND_FD,), None),
    ]


def _fitting(path: str, rights: int) -> int:
    is_directory = stat.S_ISDIR(os.stat(path).st_mode)
    return rights if is_directory else rights & _OF_A_FILE
