"""Attacks on the cage itself: new rights, other namespaces, weaker filters."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from cage import (
    ESCAPES,
    LIBC,
    NOT_RUN,
    ROOT_ESCAPES,
    UNKNOWN,
    Escaped,
    Targets,
    attack,
    call,
    number,
    refused_with,
)


@attack(at_none=ESCAPES)
def user_namespace(targets: Targets) -> None:
    """A nested user namespace has every capability inside, and reaches code that trusts them."""
    if LIBC.unshare(0x10000000) == 0:
        raise Escaped("unshare(CLONE_NEWUSER)")


@attack(at_none=NOT_RUN)
def user_namespace_by_clone(targets: Targets) -> None:
    """The same by clone(2)."""
    pid = call(number(56, 220), 0x10000000 | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    raise Escaped("clone(CLONE_NEWUSER)")


@attack(at_none=UNKNOWN)
def clone_with_pointers(targets: Targets) -> None:
    """clone3 hides its flags behind a pointer: it does not exist here."""
    try:
        call(435, struct.pack("=11Q", *([0] * 11)), 8)
    except OSError as error:
        refused_with(error.errno, errno.ENOSYS, "clone3")


@attack(at_none=ROOT_ESCAPES)
def other_namespaces(targets: Targets) -> None:
    """Each kind of namespace alone."""
    for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x20000000, 0x40000000):
        if LIBC.unshare(flag) == 0:
            raise Escaped(f"unshare({flag:#x})")


@attack(at_none=ROOT_ESCAPES)
def namespaces_of_another(targets: Targets) -> None:
    """setns into the supervisor's."""
    handle = os.open(f"/proc/{targets.jailer_pid}/ns/uts", os.O_RDONLY)
    call(number(308, 268), handle, 0)
    raise Escaped("joined a namespace of the supervisor")


@attack(at_none=NOT_RUN)
def mounts(targets: Targets) -> None:
    """mount, umount2, pivot_root and the new calls."""
    for arguments in (
        (number(165, 40), b"none", targets.scratch.encode(), b"tmpfs", 0, 0),
        (number(166, 39), b"/proc", 2),
        (number(155, 41), b".", b"."),
        (428, -100, b"/", 1),
        (430, b"tmpfs", 0),
        (429, -100, b"/nowhere", -100, b"/nowhere", 0),
    ):
        try:
            call(*arguments)
        except OSError as error:
            refused_with(error.errno, errno.EPERM, f"call {arguments[0]}")
        else:
            raise Escaped(f"call {arguments[0]} worked")


@attack(at_none=ESCAPES)
def personality(targets: Targets) -> None:
    """READ_IMPLIES_EXEC and ADDR_NO_RANDOMIZE weaken what comes next; asking is free."""
    assert LIBC.personality(ctypes.c_ulong(0xFFFFFFFF)) >= 0, "runtimes ask"
    if LIBC.personality(ctypes.c_ulong(0x0440000)) >= 0:
        raise Escaped("personality changed")


@attack(at_none=UNKNOWN)
def regained_root(targets: Targets) -> None:
    """No way back to uid 0 or to any capability."""
    for way in (lambda: os.setuid(0), lambda: os.setreuid(0, 0), lambda: os.setresuid(0, 0, 0)):
        try:
            way()
        except OSError:
            continue
    try:
        os.setgroups([0])
        raise Escaped("changed its groups")
    except OSError:
        pass
    header = ctypes.create_string_buffer(struct.pack("=II", 0x20080522, 0), 8)
    full = ctypes.create_string_buffer(b"\xff" * 24, 24)
    if LIBC.capset(header, full) == 0:
        raise Escaped("took capabilities")


@attack(at_none=UNKNOWN)
def memory_map_by_hand(targets: Targets) -> None:
    """PR_SET_MM rewrites what /proc shows of oneself."""
    if LIBC.prctl(35, 1, 0x10000, 0, 0) == 0 or ctypes.get_errno() != errno.EPERM:
        raise Escaped("PR_SET_MM reached the kernel")


@attack(at_none=UNKNOWN)
def tracer_invited(targets: Targets) -> None:
    """PR_SET_PTRACER invites others in."""
    if LIBC.prctl(0x59616D61, -1, 0, 0, 0) == 0 or ctypes.get_errno() != errno.EPERM:
        raise Escaped("PR_SET_PTRACER reached the kernel")


@attack(at_none=UNKNOWN)
def filter_weakened(targets: Targets) -> None:
    """A filter of one's own can only refuse more."""
    allow_all = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000), 8)
    header = struct.pack("=HxxxxxxQ", 1, ctypes.addressof(allow_all))
    call(number(317, 277), 1, 0, header)
    if LIBC.unshare(0x10000000) == 0:
        raise Escaped("the second filter took the first one's place")


@attack(at_none=UNKNOWN)
def user_namespace_with_its_friends(targets: Targets) -> None:
    """All namespaces at once, also those of time, and by clone with each flag."""
    for flag in (0x80, 0x10000000 | 0x20000000, 0x7E020000):
        if LIBC.unshare(flag) == 0:
            raise Escaped(f"unshare({flag:#x})")


@attack(at_none=UNKNOWN)
def namespaces_by_descriptor(targets: Targets) -> None:
    """setns with a pidfd of oneself enters all of one's own namespaces anew."""
    pidfd = call(434, os.getpid(), 0)
    for flag in (0, 0x20000, 0x10000000, 0x40000000):
        try:
            call(number(308, 268), pidfd, flag)
        except OSError as error:
            refused_with(error.errno, errno.EPERM, f"setns {flag:#x}")
        else:
            raise Escaped(f"setns {flag:#x}")


@attack(at_none=UNKNOWN)
def mounts_by_the_new_calls(targets: Targets) -> None:
    """open_tree, fsopen, fsconfig, fsmount, fspick, move_mount, mount_setattr: refused unseen."""
    for unknown in (428, 429, 430, 431, 432, 433, 442):
        try:
            call(unknown, -1, b"", 0, 0, 0)
        except OSError as error:
            refused_with(error.errno, errno.EPERM, f"call {unknown}")
        else:
            raise Escaped(f"call {unknown} worked")


@attack(at_none=UNKNOWN)
def mounts_that_are_listed(targets: Targets) -> None:
    """listmount and statmount tell of every mount; they are newer than the filter."""
    for unknown in (457, 458):
        try:
            call(unknown, b"\0" * 64, b"\0" * 64, 8, 0)
        except OSError as error:
            refused_with(error.errno, errno.ENOSYS, f"call {unknown}")
        else:
            raise Escaped(f"call {unknown} worked")


@attack(at_none=UNKNOWN)
def attributes_of_the_process(targets: Targets) -> None:
    """What prctl gives to the privileged, it does not give here."""
    for option, value in ((28, 0xFF), (57, 1), (67, 1), (8, 1)):
        # SECUREBITS, IO_FLUSHER, MEMORY_MERGE, KEEPCAPS (which is harmless without capabilities)
        if LIBC.prctl(option, value, 0, 0, 0) == 0 and option != 8:
            raise Escaped(f"prctl {option} worked")
    for capability in range(41):
        if LIBC.prctl(47, 2, capability, 0, 0) == 0:  # CAP_AMBIENT_RAISE
            raise Escaped(f"ambient capability {capability}")


@attack(at_none=UNKNOWN)
def calls_caught_by_oneself(targets: Targets) -> None:
    """PR_SET_SYSCALL_USER_DISPATCH hands calls to user code; it lets none past the filter."""
    selector = ctypes.create_string_buffer(b"\0", 1)  # allow
    LIBC.prctl(59, 1, 0, 0, selector)
    if LIBC.unshare(0x10000000) == 0:
        raise Escaped("unshare by a dispatched call")


@attack()
def listener_of_a_filter(targets: Targets) -> None:
    """A filter that asks user space (SECCOMP_RET_USER_NOTIF) cannot answer what ours refuses."""
    notify = ctypes.create_string_buffer(
        struct.pack(
            "=HBBIHBBIHBBIHBBI",
            0x20,
            0,
            0,
            0,
            0x15,
            0,
            1,
            272,
            6,
            0,
            0,
            0x7FC00000,
            6,
            0,
            0,
            0x7FFF0000,
        ),
        32,
    )
    header = struct.pack("=HxxxxxxQ", 4, ctypes.addressof(notify))
    listener = call(number(317, 277), 1, 8, header)  # FLAG_NEW_LISTENER
    if LIBC.unshare(0x10000000) == 0:
        raise Escaped(f"unshare answered by listener {listener}")


@attack(at_none=UNKNOWN)
def landlock_weakened(targets: Targets) -> None:
    """A ruleset of one's own can only refuse more."""
    ruleset = call(444, struct.pack("=QQQ", 4, 0, 0), 24, 0)  # READ_FILE
    root = os.open("/", os.O_PATH)
    call(445, ruleset, 1, struct.pack("=Qi", 4, root), 0)
    call(446, ruleset, 0)
    if targets.secret_text in open(targets.secret, encoding="ascii").read():
        raise Escaped("a rule of its own opened the file")
