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


@attack(at_none=ESCAPES)
def connections_of_the_host(targets: Targets) -> None:
    """The host's sockets are not listed: neither by /proc/net nor by a thread's."""
    for path in ("/proc/net/tcp", "/proc/self/net/tcp", f"/proc/self/task/{os.getpid()}/net/tcp"):
        try:
            text = open(path, encoding="ascii").read()
        except OSError:
            continue
        if f":{targets.tcp_port:04X} " in text:
            raise Escaped(f"{path} shows the supervisor's port")


@attack(at_none=ESCAPES)
def sockets_of_the_host(targets: Targets) -> None:
    """Nor are the names of Unix sockets."""
    with open("/proc/self/net/unix", encoding="utf-8", errors="replace") as sockets:
        if targets.abstract_name in sockets.read():
            raise Escaped("saw the name of a socket outside")


@attack(at_none=UNKNOWN)
def threads_of_another_by_number(targets: Targets) -> None:
    """A process is reachable by the number of a thread too."""
    task = f"/proc/self/../{targets.victim_pid}/task/{targets.victim_pid}/environ"
    with open(task, "rb") as environment:
        _expect_secret(environment.read().decode(), targets)


@attack(at_none=TRACING)
def maps_of_another(targets: Targets) -> None:
    """Addresses of another process help to attack it."""
    with open(f"/proc/{targets.victim_pid}/maps", encoding="utf-8") as maps:
        if maps.read():
            raise Escaped("saw where its memory lies")


@attack(at_none=TRACING)
def stack_and_registers_of_another(targets: Targets) -> None:
    """syscall and stack files of /proc."""
    for name in ("syscall", "auxv", "personality"):
        with open(f"/proc/{targets.victim_pid}/{name}", "rb") as file:
            if file.read():
                raise Escaped(f"read /proc/<pid>/{name}")


@attack(at_none=TRACING)
def robust_list_of_another(targets: Targets) -> None:
    """get_robust_list tells an address in another process."""
    head, size = ctypes.c_void_p(), ctypes.c_size_t()
    arguments = (targets.victim_pid, ctypes.byref(head), ctypes.byref(size))
    call(number(274, 100), *arguments)
    raise Escaped("get_robust_list")


@attack(at_none=TRACING)
def memory_written_by_system_call(targets: Targets) -> None:
    """process_vm_writev."""
    buffer = ctypes.create_string_buffer(8)
    local = struct.pack("=QQ", ctypes.addressof(buffer), 8)
    call(number(311, 271), os.getpid(), local, 1, local, 1, 0)
    raise Escaped("process_vm_writev works")


@attack(at_none=TRACING)
def trace_by_seize(targets: Targets) -> None:
    """PTRACE_SEIZE is the quiet way of attaching."""
    if LIBC.ptrace(0x4206, targets.victim_pid, None, None) == 0:
        raise Escaped("seized a process of the same uid")


@attack(at_none=ROOT_ESCAPES)
def addresses_of_the_kernel(targets: Targets) -> None:
    """Maps of the machine's memory, of its caches, of what the kernel's timers do."""
    for path in ("/proc/iomem", "/proc/slabinfo", "/proc/vmallocinfo", "/proc/timer_list"):
        try:
            text = open(path, encoding="ascii").read()
        except OSError:
            continue
        if any(line.partition("-")[0].strip("0 ") for line in text.splitlines()[:3]):
            raise Escaped(f"read {path}")


@attack(at_none=UNKNOWN)
def other_executors_scratch(targets: Targets) -> None:
    """The folder that holds the scratches of all cannot be listed."""
    if targets.scratch == "/tmp":
        parent = os.path.dirname(targets.open_folder)
    else:
        parent = os.path.dirname(targets.scratch)
    raise Escaped(f"saw {os.listdir(parent)}")


@attack(at_none=UNKNOWN)
def leftovers_in_fresh_memory(targets: Targets) -> None:
    """Memory that the kernel gives is empty, and files of the scratch hold nothing of others."""
    import mmap

    if mmap.mmap(-1, 1 << 20).read().strip(b"\0"):
        raise Escaped("a new mapping is not empty")
    path = os.path.join(targets.scratch, "hole")
    with open(path, "wb+") as file:
        file.truncate(1 << 20)
        if file.read().strip(b"\0"):
            raise Escaped("a hole in a file is not empty")


@attack()
def own_secrets_of_the_zygote(targets: Targets) -> None:
    """What the supervisor knows is in no page that a fork has brought along."""
    needle = targets.secret_text.encode()
    with open("/proc/self/maps", encoding="utf-8") as maps, open("/proc/self/mem", "rb", 0) as mem:
        for line in maps:
            span, rights = line.split()[:2]
            low, high = (int(word, 16) for word in span.split("-"))
            if "r" not in rights or "[v" in line or high - low > 64 << 20:
                continue
            try:
                mem.seek(low)
                found = mem.read(high - low).count(needle)
            except (OSError, ValueError, OverflowError):
                continue
            if found > 100:  # our own targets hold it a few times
                raise Escaped("the secret is in this process many times")
