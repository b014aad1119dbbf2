"""System calls that the standard library does not wrap, through ctypes.

Most come as pairs for a `steps.Step`: the C function and its arguments, converted once. The few
that are called outside a chain raise OSError with the call's name.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Optional, Tuple

from .numbers import machine, numbers_of
from .steps import Step

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8  # MOUNT_ATTR_*

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MNT_DETACH = 2
_CAPABILITY_VERSION_3 = 0x20080522
_LANDLOCK_CREATE_RULESET_VERSION = 1
_SECCOMP_SET_MODE_FILTER = 1

_LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = numbers_of(machine())

_LIBC.syscall.restype = ctypes.c_long
_LIBC.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_LIBC.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    if _LIBC.unshare(ctypes.c_int(flags)) != 0:
        _fail("unshare")


def prctl(option: int, argument: int = 0) -> None:
    """Set one attribute of this process; unused arguments are zero, as newer options insist."""
    if _LIBC.prctl(option, argument, 0, 0, 0) != 0:
        _fail(f"prctl {option}")


def landlock_abi() -> int:
    """The kernel's Landlock version; 0 where it is not built in or switched off."""
    arguments = _raw("landlock_create_ruleset", None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    return max(0, int(_LIBC.syscall(*arguments))) if arguments else 0


def effective_capabilities() -> int:
    """The effective capability set of this thread, a bit each."""
    header = ctypes.create_string_buffer(struct.pack("=II", _CAPABILITY_VERSION_3, 0), 8)
    sets = ctypes.create_string_buffer(24)
    if _LIBC.capget(header, sets) != 0:
        _fail("capget")
    low, _, _, high, _, _ = struct.unpack("=6I", sets.raw)
    return int(low | high << 32)


def newest_capability() -> int:
    """The highest capability number of this kernel."""
    number = 0
    while _LIBC.prctl(_PR_CAPBSET_READ, number + 1, 0, 0, 0) >= 0:
        number += 1
    return number


def close_range(first_fd: int, last_fd: int = 0xFFFFFFFF) -> None:
    """Close every descriptor from *first_fd* to *last_fd*. Needs kernel 5.9."""
    if _LIBC.syscall(*_raw("close_range", first_fd, last_fd, 0)) != 0:
        _fail("close_range")


def host_name_step(layer: str, name: str) -> Step:
    """sethostname(2): name this uts namespace."""
    arguments = (name.encode(), ctypes.c_size_t(len(name)))
    return Step(layer, "sethostname", _LIBC.sethostname, arguments)


def unshare_step(layer: str, flags: int) -> Step:
    """unshare(2)."""
    return Step(layer, "unshare", _LIBC.unshare, (ctypes.c_int(flags),))


def mount_step(
    layer: str,
    source: Optional[str],
    target: str,
    kind: Optional[str],
    *,
    flags: int,
    data: str = "",
) -> Step:
    """mount(2)."""
    arguments = (
        None if source is None else os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        flags,
        data.encode() or None,
    )
    return Step(layer, f"mount {kind or source or ''} on {target}", _LIBC.mount, arguments)


def mount_setattr_step(
    layer: str, target: str, attributes: int, *, recursive: bool = False
) -> Step:
    """mount_setattr(2), kernel 5.12: set *attributes* on the mount (and all below)."""
    request = ctypes.create_string_buffer(struct.pack("=QQQQ", attributes, 0, 0, 0), 32)
    flags = _AT_RECURSIVE if recursive else 0
    arguments = (_AT_FDCWD, os.fsencode(target), flags, request, 32)
    return _syscall_step(layer, "mount_setattr", *arguments)


def pivot_steps(layer: str, new_root: str) -> Tuple[Step, ...]:
    """Make *new_root*, a mount point, the root; let go of the old one.

    Source: pivot_root(2), "pivot_root(".", ".")".
    """
    return (
        Step(layer, f"chdir {new_root}", os.chdir, (new_root,), None),
        _syscall_step(layer, "pivot_root", b".", b"."),
        Step(layer, "umount2 of the old root", _LIBC.umount2, (b".", ctypes.c_int(_MNT_DETACH))),
        Step(layer, "chdir /", os.chdir, ("/",), None),
    )


def prctl_step(layer: str, option: int, argument: int = 0) -> Step:
    """prctl(2)."""
    return Step(layer, f"prctl {option}", _LIBC.prctl, (option, argument, 0, 0, 0))


def capset_step(layer: str) -> Step:
    """Empty the effective, permitted and inheritable sets of this thread."""
    header = ctypes.create_string_buffer(struct.pack("=II", _CAPABILITY_VERSION_3, 0), 8)
    return Step(layer, "capset", _LIBC.capset, (header, ctypes.create_string_buffer(24)))


def ruleset_step(layer: str, attributes: bytes, expected_fd: int) -> Step:
    """landlock_create_ruleset(2); *attributes* is struct landlock_ruleset_attr."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    step = _syscall_step(layer, "landlock_create_ruleset", buffer, len(attributes), 0)
    return step._replace(expected=expected_fd)


def rule_step(layer: str, ruleset_fd: int, kind: int, rule: bytes) -> Step:
    """landlock_add_rule(2) (1: path beneath, 2: net port)."""
    buffer = ctypes.create_string_buffer(rule, len(rule))
    return _syscall_step(layer, "landlock_add_rule", ruleset_fd, kind, buffer, 0)


def restrict_step(layer: str, ruleset_fd: int, flags: int) -> Step:
    """landlock_restrict_self(2); needs no_new_privs."""
    return _syscall_step(layer, "landlock_restrict_self", ruleset_fd, flags)


def seccomp_step(layer: str, program: ctypes.Array[ctypes.c_char]) -> Step:
    """seccomp(2): install *program*, 8 bytes an instruction; it may be patched until then."""
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(program))
    buffer = ctypes.create_string_buffer(header, len(header))
    step = _syscall_step(layer, "seccomp", _SECCOMP_SET_MODE_FILTER, 0, buffer)
    return step._replace(arguments=(*step.arguments, program))  # the kernel ignores it; it lives


def _syscall_step(layer: str, name: str, *arguments: object) -> Step:
    return Step(layer, name, _LIBC.syscall, _raw(name, *arguments))


def _raw(name: str, *arguments: object) -> Tuple[object, ...]:
    number = _NUMBERS.get(name, -1)  # -1 is ENOSYS on a machine that we have no table of
    words = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return (ctypes.c_long(number), *words)


def _fail(what: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), what)
