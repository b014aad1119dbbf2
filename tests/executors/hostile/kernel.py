"""Attacks on the kernel's surface: calls that no worker needs and that have had holes."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct

from cage import (
    IS_X86,
    NOT_RUN,
    UNKNOWN,
    Escaped,
    Targets,
    attack,
    call,
    number,
    refused_with,
)


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


@attack(at_none=UNKNOWN)
def io_uring_by_every_door(targets: Targets) -> None:
    """Each of its three calls is missing."""
    for unknown, *arguments in ((425, 4, b"\0" * 120), (426, 0, 1, 0, 0, 0, 0), (427, 0, 0, 0, 0)):
        try:
            call(unknown, *arguments)
        except OSError as error:
            refused_with(error.errno, errno.ENOSYS, f"call {unknown}")
        else:
            raise Escaped(f"call {unknown} worked")


@attack(at_none=UNKNOWN)
def keys_of_all_kinds(targets: Targets) -> None:
    """add_key, request_key and every command of keyctl."""
    for arguments in (
        (number(248, 217), b"user", b"name", b"secret", 6, -3),
        (number(249, 218), b"user", b"name", None, -3),
        *((number(250, 219), command, 0, 0, 0, 0) for command in range(32)),
    ):
        try:
            call(*arguments)
        except OSError as error:
            refused_with(error.errno, errno.EPERM, f"call {arguments[:2]}")
        else:
            raise Escaped(f"call {arguments[:2]} worked")


@attack(at_none=UNKNOWN)
def bpf_of_all_kinds(targets: Targets) -> None:
    """Every command of bpf(2), programs for sockets included."""
    for command in range(40):
        try:
            call(number(321, 280), command, ctypes.create_string_buffer(128), 128)
        except OSError as error:
            refused_with(error.errno, errno.EPERM, f"bpf command {command}")
        else:
            raise Escaped(f"bpf command {command} worked")


@attack(at_none=UNKNOWN)
def page_cache_of_others(targets: Targets) -> None:
    """cachestat tells which pages others have read."""
    with open(os.__file__, "rb") as file:
        try:
            call(451, file.fileno(), struct.pack("=QQ", 0, 0), ctypes.create_string_buffer(40), 0)
        except OSError as error:
            refused_with(error.errno, errno.ENOSYS, "cachestat")
        else:
            raise Escaped("cachestat works")


@attack(at_none=UNKNOWN)
def system_call_table_walked(targets: Targets) -> None:
    """Every number with worthless arguments: the executor may die of it, the host does not care."""
    harmful = {60, 231, 15, 34, 61, 247, 23, 7, 271, 270, 35, 230, 128, 130, 0, 1, 3, 436, 62, 200}
    harmful |= {93, 94, 139, 72, 73, 101, 115, 133, 137, 95, 260, 57, 58, 202, 232, 281, 441, 449}
    for unknown in range(470):
        if unknown in harmful or not IS_X86:
            continue
        try:
            call(unknown, -1, -1, -1, -1, -1, -1)
        except OSError:
            continue
