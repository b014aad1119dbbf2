"""Attacks on the kernel's surface: calls that no worker needs and that have had holes."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct

from cage import (
    ESCAPES,
    IS_X86,
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


@attack(at_none=UNKNOWN)
def io_uring(targets: Targets) -> None:
    """io_uring does I/O that no filter sees."""
    parameters = ctypes.create_string_buffer(120)
    call(425, 4, parameters)
    raise Escaped("an io_uring")


@attack(at_none=UNKNOWN)
def kernel_keys(targets: Targets) -> None:
    """Keyrings are counted per uid, and had many holes."""
    call(number(250, 219), 0, -3, 1)
    raise Escaped("keyctl works")


@attack(at_none=UNKNOWN)
def bpf_program(targets: Targets) -> None:
    """bpf(2)."""
    call(number(321, 280), 0, struct.pack("=IIIIIIII", 2, 4, 4, 1, 0, 0, 0, 0), 32)
    raise Escaped("a BPF map")


@attack(at_none=UNKNOWN)
def performance_events(targets: Targets) -> None:
    """perf_event_open."""
    attributes = ctypes.create_string_buffer(struct.pack("=IIQ", 1, 112, 0), 112)
    call(number(298, 241), attributes, 0, -1, -1, 0)
    raise Escaped("a performance counter")


@attack(at_none=UNKNOWN)
def faults_by_hand(targets: Targets) -> None:
    """userfaultfd stops the kernel in the middle of a copy."""
    call(number(323, 282), 1)
    raise Escaped("userfaultfd")


@attack(at_none=UNKNOWN)
def secret_memory(targets: Targets) -> None:
    """memfd_secret is memory that nobody else can look at."""
    call(447, 0)
    raise Escaped("memfd_secret")


@attack(at_none=NOT_RUN)
def terminal_input(targets: Targets) -> None:
    """TIOCSTI types into the operator's terminal, whatever the upper half of the command says."""
    for command in (0x5412, 0x541C, 0x5423, 0x1_0000_5412):
        try:
            call(number(16, 29), 0, command, b"x")
        except OSError as error:
            refused_with(error.errno, errno.EPERM, f"ioctl {command:#x}")


@attack(at_none=NOT_RUN)
def clock(targets: Targets) -> None:
    """Nobody's clock is set."""
    for arguments in (
        (number(227, 112), 0, struct.pack("=qq", -1, -1)),
        (number(164, 170), struct.pack("=qq", -1, -1), 0),
        (number(159, 171), b"\0" * 208),
        (number(305, 266), 0, b"\0" * 208),
    ):
        try:
            call(*arguments)
        except OSError as error:
            refused_with(error.errno, errno.EPERM, f"call {arguments[0]}")
        else:
            raise Escaped(f"call {arguments[0]} worked")


@attack(at_none=NOT_RUN)
def modules_and_power(targets: Targets) -> None:
    """Modules, kexec, reboot, swap, quota, host name: refused before the kernel looks."""
    for x86, arm, *arguments in (
        (175, 105, 0, 0, b""),  # init_module
        (313, 273, -1, b"", 0),  # finit_module
        (176, 106, b"nothing", 0),  # delete_module
        (246, 104, 0, 0, 0, 0),  # kexec_load
        (320, 294, -1, -1, 0, b"", 0),  # kexec_file_load
        (169, 142, 0, 0, 0, 0),  # reboot, with wrong magic numbers
        (167, 224, b"/nowhere", 0),  # swapon
        (168, 225, b"/nowhere"),  # swapoff
        (163, 89, b"/nowhere"),  # acct
        (179, 60, 0, 0, 0, 0),  # quotactl
        (170, 161, b"", -1),  # sethostname
        (171, 162, b"", -1),  # setdomainname
        (153, 58),  # vhangup
        (300, 262, -1, -1),  # fanotify_init
    ):
        try:
            call(number(x86, arm), *arguments)
        except OSError as error:
            refused_with(error.errno, errno.EPERM, f"call {x86}")
        else:
            raise Escaped(f"call {x86} worked")


@attack(at_none=UNKNOWN)
def calls_of_the_future(targets: Targets) -> None:
    """A call newer than the filter's table does not exist."""
    for unknown in (457, 458, 463, 467, 470, 500, 600, 1000):
        try:
            call(unknown, -1, -1, -1, -1, -1, -1)
        except OSError as error:
            refused_with(error.errno, errno.ENOSYS, f"call {unknown}")


@attack(at_none=UNKNOWN)
def calls_of_another_machine(targets: Targets) -> None:
    """The 32-bit door (int 0x80) leads past every number: it kills."""
    if not IS_X86:
        return
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20 (getpid); int 0x80; ret
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    if result == os.getpid():
        raise Escaped("getpid by int 0x80")


@attack(at_none=UNKNOWN)
def calls_of_x32(targets: Targets) -> None:
    """The x32 bit makes another number of each call."""
    if not IS_X86:
        return
    try:
        call(0x40000000 | 39)
    except OSError as error:
        refused_with(error.errno, errno.ENOSYS, "x32 getpid")
    else:
        raise Escaped("getpid by its x32 number")


@attack(at_none=UNKNOWN)
def segments(targets: Targets) -> None:
    """modify_ldt and I/O ports."""
    if not IS_X86:
        return
    for arguments in ((154, 0, ctypes.create_string_buffer(64), 64), (173, 0, 1, 0), (172, 0)):
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
def memory_policy(targets: Targets) -> None:
    """mbind and set_mempolicy have had holes, and starve a node."""
    call(number(238, 237), 0, 0, 0)
    raise Escaped("set_mempolicy works")


@attack(at_none=UNKNOWN)
def shadow_stack(targets: Targets) -> None:
    """map_shadow_stack."""
    try:
        call(453, 0, 4096, 0)
    except OSError as error:
        refused_with(error.errno, errno.EPERM, "map_shadow_stack")
    else:
        raise Escaped("map_shadow_stack works")
