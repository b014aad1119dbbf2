"""Attacks on what is not yours to read: files, environments, memory, processes."""

from __future__ import annotations

import ctypes
import os
import struct

from cage import (
    ESCAPES,
    LIBC,
    ROOT_ESCAPES,
    TRACING,
    UNKNOWN,
    Escaped,
    Targets,
    attack,
    call,
    number,
)


@attack(at_none=ESCAPES)
def private_file(targets: Targets) -> None:
    """A private file of the supervisor's own uid cannot be read."""
    _expect_secret(open(targets.secret, encoding="ascii").read(), targets)


@attack(at_none=ESCAPES)
def private_folder(targets: Targets) -> None:
    """Nor can its folder be listed."""
    raise Escaped(f"saw {os.listdir(os.path.dirname(targets.secret))}")


@attack(at_none=ROOT_ESCAPES)
def shadow(targets: Targets) -> None:
    """Password hashes stay unread."""
    raise Escaped(f"{len(open('/etc/shadow', encoding='ascii').read())} bytes of /etc/shadow")


@attack(at_none=ESCAPES)
def file_through_a_link(targets: Targets) -> None:
    """A symbolic link in the scratch leads nowhere new."""
    link = os.path.join(targets.scratch, "link")
    os.symlink(targets.secret, link)
    _expect_secret(open(link, encoding="ascii").read(), targets)


@attack(at_none=ESCAPES)
def file_through_a_hard_link(targets: Targets) -> None:
    """A hard link into the scratch is refused."""
    link = os.path.join(targets.scratch, "hard")
    os.link(targets.secret, link)
    _expect_secret(open(link, encoding="ascii").read(), targets)


@attack(at_none=TRACING)
def file_through_proc_root(targets: Targets) -> None:
    """/proc/self/root and the roots of others lead into the same tree."""
    for root in ("/proc/self/root", "/proc/1/root", f"/proc/{targets.jailer_pid}/root"):
        try:
            text = open(root + targets.secret, encoding="ascii").read()
        except OSError:
            continue
        _expect_secret(text, targets)


@attack(at_none=TRACING)
def file_through_somebodys_cwd(targets: Targets) -> None:
    """The working directory of another process is out of reach."""
    path = f"/proc/{targets.victim_pid}/cwd/{os.path.basename(targets.secret)}"
    _expect_secret(open(path, encoding="ascii").read(), targets)


@attack(at_none=ROOT_ESCAPES)
def file_by_handle(targets: Targets) -> None:
    """open_by_handle_at walks past every path check; it is refused."""
    folder = os.open(targets.scratch, os.O_RDONLY)
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    mount_id = ctypes.c_int()
    call(number(303, 264), folder, b"", handle, ctypes.byref(mount_id), 0x1000)
    call(number(304, 265), folder, handle, os.O_RDONLY)
    raise Escaped("opened a file by its handle")


@attack(at_none=ROOT_ESCAPES)
def tree_through_chroot(targets: Targets) -> None:
    """The classic way out of a chroot needs chroot."""
    os.chroot(targets.scratch)
    raise Escaped("chroot")


@attack(at_none=TRACING)
def environment_of_another(targets: Targets) -> None:
    """The environment of a process of the same uid stays unread."""
    with open(f"/proc/{targets.victim_pid}/environ", "rb") as environment:
        _expect_secret(environment.read().decode(), targets)


@attack(at_none=TRACING)
def environments_of_all(targets: Targets) -> None:
    """No process but one's own is there to be looked at."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as environment:
                _expect_secret(environment.read().decode("utf-8", "replace"), targets)
        except OSError:
            continue


@attack(at_none=ESCAPES)
def command_line_of_another(targets: Targets) -> None:
    """Command lines, which may hold secrets, neither."""
    with open(f"/proc/{targets.victim_pid}/cmdline", "rb") as command:
        raise Escaped(f"{len(command.read())} bytes of a command line")


@attack(at_none=TRACING)
def memory_of_another(targets: Targets) -> None:
    """/proc/<pid>/mem of a process of the same uid."""
    with open(f"/proc/{targets.victim_pid}/mem", "rb"):
        raise Escaped("opened its memory")


@attack(at_none=TRACING)
def memory_of_the_parent(targets: Targets) -> None:
    """The supervisor's memory, which holds everybody's events."""
    with open(f"/proc/{targets.jailer_pid}/mem", "rb"):
        raise Escaped("opened its memory")


@attack(at_none=ESCAPES)
def memory_by_system_call(targets: Targets) -> None:
    """process_vm_readv is refused, also of oneself."""
    buffer = ctypes.create_string_buffer(8)
    local = struct.pack("=QQ", ctypes.addressof(buffer), 8)
    # The victim's address does not matter: EFAULT would mean that the door is open.
    pid = os.getpid()
    call(number(310, 270), pid, local, 1, local, 1, 0)
    raise Escaped("process_vm_readv works")


@attack(at_none=TRACING)
def trace_another(targets: Targets) -> None:
    """ptrace is refused."""
    if LIBC.ptrace(16, targets.victim_pid, None, None) == 0:  # PTRACE_ATTACH
        LIBC.ptrace(17, targets.victim_pid, None, None)
        raise Escaped("traced a process of the same uid")


@attack(at_none=ESCAPES)
def trace_oneself(targets: Targets) -> None:
    """Even PTRACE_TRACEME, which would let the parent's death go unseen."""
    if LIBC.ptrace(0, 0, None, None) == 0:
        raise Escaped("PTRACE_TRACEME")


@attack(at_none=TRACING)
def descriptor_of_another(targets: Targets) -> None:
    """pidfd_getfd takes other processes' sockets."""
    pidfd = call(434, targets.victim_pid, 0)
    call(438, pidfd, 1, 0)
    raise Escaped("took a descriptor of the victim")


@attack(at_none=TRACING)
def descriptors_in_proc(targets: Targets) -> None:
    """/proc/<pid>/fd opens other processes' files."""
    raise Escaped(f"saw {os.listdir(f'/proc/{targets.victim_pid}/fd')}")


@attack()
def inherited_descriptors(targets: Targets) -> None:
    """Nothing but 0-4 is open."""
    extra = []
    for descriptor in range(5, 4096):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        extra.append(descriptor)
    if extra:
        raise Escaped(f"descriptors {extra} are open")


@attack(at_none=UNKNOWN)
def kernel_messages(targets: Targets) -> None:
    """The kernel's log tells addresses and neighbours."""
    buffer = ctypes.create_string_buffer(64)
    call(number(103, 116), 3, buffer, 64)
    raise Escaped("syslog(2)")


@attack(at_none=UNKNOWN)
def kernel_files(targets: Targets) -> None:
    """kcore, kmsg, kallsyms with addresses, the disks themselves."""
    for path in (
        "/proc/kcore",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/vda",
        "/dev/sda",
        "/proc/kpageflags",
    ):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            continue
        raise Escaped(f"opened {path}")
    with open("/proc/kallsyms", encoding="ascii") as symbols:
        if int(symbols.readline().split()[0], 16):
            raise Escaped("kernel addresses")


@attack(at_none=TRACING)
def identity_of_another(targets: Targets) -> None:
    """kcmp compares the insides of two processes."""
    call(number(312, 272), os.getpid(), targets.victim_pid, 1, 0, 0)
    raise Escaped("kcmp works")


def _expect_secret(text: str, targets: Targets) -> None:
    if targets.secret_text in text:
        raise Escaped("read the secret")
