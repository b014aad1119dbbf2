"""Attacks on files: writing, changing, replacing what lies outside of the scratch."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import sys

from cage import ESCAPES, LIBC, ROOT_ESCAPES, UNKNOWN, Escaped, Targets, attack, call, number


def file_has_changed(targets: Targets) -> str | None:
    """Evidence that the open file was touched."""
    found = os.stat(targets.open_file)
    with open(targets.open_file, encoding="ascii") as file:
        text = file.read()
    changes = []
    if text != "original":
        changes.append(f"holds {text!r}")
    if stat.S_IMODE(found.st_mode) != 0o666:
        changes.append(f"mode {stat.S_IMODE(found.st_mode):o}")
    if found.st_mtime != 0 and text == "original":
        changes.append("was touched")
    return ", ".join(changes)


def folder_has_grown(targets: Targets) -> str | None:
    """Evidence that something was made in the open folder."""
    known = {os.path.basename(targets.open_file), os.path.basename(targets.unix_path)}
    extra = set(os.listdir(targets.open_folder)) - known
    return f"made {sorted(extra)}" if extra else None


@attack(at_none=ESCAPES, after=file_has_changed)
def write(targets: Targets) -> None:
    """A file that everybody may write to is not writable from inside."""
    with open(targets.open_file, "w", encoding="ascii") as file:
        file.write("hostile")


@attack(at_none=ESCAPES, after=folder_has_grown)
def create(targets: Targets) -> None:
    """Nothing can be made in a folder that everybody may write to."""
    with open(os.path.join(targets.open_folder, "new"), "w", encoding="ascii") as file:
        file.write("hostile")


@attack(at_none=ESCAPES, after=folder_has_grown)
def create_folder(targets: Targets) -> None:
    """No folders either."""
    os.mkdir(os.path.join(targets.open_folder, "new"))


@attack(at_none=ESCAPES, after=folder_has_grown)
def create_link(targets: Targets) -> None:
    """Nor links, which others may follow."""
    os.symlink("/etc/passwd", os.path.join(targets.open_folder, "link"))


@attack(at_none=ESCAPES, after=folder_has_grown)
def create_through_a_link(targets: Targets) -> None:
    """A link in the scratch is no bridge."""
    link = os.path.join(targets.scratch, "bridge")
    os.symlink(targets.open_folder, link)
    with open(os.path.join(link, "new"), "w", encoding="ascii") as file:
        file.write("hostile")


@attack(at_none=ESCAPES, after=folder_has_grown)
def move_out(targets: Targets) -> None:
    """Nothing is moved out of the scratch."""
    source = os.path.join(targets.scratch, "own")
    with open(source, "w", encoding="ascii") as file:
        file.write("hostile")
    os.rename(source, os.path.join(targets.open_folder, "new"))


@attack(at_none=ESCAPES)
def move_in(targets: Targets) -> None:
    """Nothing is moved into the scratch."""
    inside = os.path.join(targets.scratch, "taken")
    os.rename(targets.open_file, inside)
    os.rename(inside, targets.open_file)
    raise Escaped("took a file from outside")


@attack(at_none=ESCAPES)
def remove(targets: Targets) -> None:
    """Nothing is removed."""
    victim = os.path.join(targets.open_folder, "socket")
    os.rename(victim, victim + "-gone")
    os.rename(victim + "-gone", victim)
    raise Escaped("could have removed a file outside")


@attack(at_none=ESCAPES, after=file_has_changed)
def truncate(targets: Targets) -> None:
    """truncate(2) by path is a write."""
    os.truncate(targets.open_file, 3)


@attack(at_none=ESCAPES, after=file_has_changed)
def change_mode(targets: Targets) -> None:
    """chmod does not pass Landlock's eyes: a read-only tree or the filter stops it."""
    os.chmod(targets.open_file, 0o600)


@attack(at_none=ESCAPES, after=file_has_changed)
def change_mode_by_descriptor(targets: Targets) -> None:
    """fchmod on what may be read."""
    descriptor = os.open(targets.open_file, os.O_RDONLY)
    os.fchmod(descriptor, 0o600)


@attack(at_none=ESCAPES, after=file_has_changed)
def change_mode_by_proc(targets: Targets) -> None:
    """Nor by the name that /proc gives to a descriptor which was opened without any right."""
    os.chmod(f"/proc/self/fd/{os.open(targets.open_file, os.O_PATH)}", 0o600)


@attack(at_none=ESCAPES, after=file_has_changed)
def change_times(targets: Targets) -> None:
    """utimensat."""
    os.utime(targets.open_file)


@attack(at_none=ESCAPES)
def change_attributes(targets: Targets) -> None:
    """setxattr."""
    os.setxattr(targets.open_file, "user.hostile", b"1")
    raise Escaped("set an extended attribute outside")


@attack(at_none=ESCAPES)
def change_owner(targets: Targets) -> None:
    """chown, to oneself."""
    os.chown(targets.open_file, os.getuid(), os.getgid())
    raise Escaped("chown outside")


@attack(at_none=UNKNOWN)
def change_flags(targets: Targets) -> None:
    """FS_IOC_SETFLAGS works on a descriptor that is open for reading only."""
    with open(targets.open_file, "rb") as file:
        flags = struct.unpack("@l", fcntl.ioctl(file, 0x80086601, b"\0" * 8))[0]
        fcntl.ioctl(file, 0x40086602, struct.pack("@l", flags | 0x40))  # nodump
        raise Escaped("changed a file's flags")


@attack(at_none=UNKNOWN)
def change_flags_of_the_interpreter(targets: Targets) -> None:
    """The same on a file that has to be readable."""
    with open(os.__file__, "rb") as file:
        fcntl.ioctl(file, 0x40086602, fcntl.ioctl(file, 0x80086601, b"\0" * 8))
        raise Escaped("set the flags of the standard library")


@attack(at_none=ROOT_ESCAPES)
def change_the_interpreter(targets: Targets) -> None:
    """The code that other executors import is not writable."""
    for path in (os.__file__, sys.modules["sandbox"].__file__, sys.executable):
        try:
            os.close(os.open(str(path), os.O_WRONLY))
        except OSError:
            continue
        raise Escaped(f"could have written {path}")


@attack(at_none=ROOT_ESCAPES)
def import_hijack(targets: Targets) -> None:
    """No module can be put where others look for them."""
    for folder in sys.path:
        path = os.path.join(folder, "hijacked_by_a_test.py")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError:
            continue
        os.unlink(path)
        raise Escaped(f"could have put a module into {folder}")


@attack(at_none=ROOT_ESCAPES)
def device_node(targets: Targets) -> None:
    """mknod of a disk, or of the kernel's memory, in the scratch."""
    for kind, device in ((stat.S_IFBLK, (254, 0)), (stat.S_IFCHR, (1, 1))):
        path = os.path.join(targets.scratch, f"device{kind}")
        try:
            os.mknod(path, kind | 0o600, os.makedev(*device))
        except OSError:
            continue
        raise Escaped("made a device node")


@attack(at_none=ROOT_ESCAPES)
def kernel_settings(targets: Targets) -> None:
    """Nothing below /proc/sys and /sys is writable."""
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/profiling"):
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError:
            continue
        raise Escaped(f"could have written {path}")


@attack(at_none=UNKNOWN)
def cgroup_files(targets: Targets) -> None:
    """The limits of its cgroup are not the executor's to lift."""
    for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"):
        for name in ("cgroup.procs", "memory.max", "memory.limit_in_bytes"):
            try:
                os.close(os.open(os.path.join(folder, name), os.O_WRONLY))
            except OSError:
                continue
            raise Escaped(f"could have written {folder}/{name}")


@attack()
def writable_places(targets: Targets) -> None:
    """Of all places where everybody may write, only the scratch is."""
    for folder in (
        "/",
        "/dev",
        "/dev/shm",
        "/etc",
        "/proc",
        "/run",
        "/sys",
        "/usr",
        "/var/tmp",
        "/var",
    ):
        path = os.path.join(folder, "hostile-was-here")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError:
            continue
        real = os.path.realpath(path)
        os.unlink(path)
        if os.path.dirname(real) != os.path.realpath(targets.scratch):
            raise Escaped(f"made {real}")


@attack()
def hostile_names(targets: Targets) -> None:
    """Names in the scratch are only names."""
    for name in ("..\\..", "a\nb", "\x1b[2J", "-rf", "%s%n", "x" * 255, "\u202egnp.exe"):
        with open(os.path.join(targets.scratch, name), "wb") as file:
            file.write(b"x")
    if os.path.exists(os.path.join(os.path.dirname(targets.scratch), "..\\..")):
        raise Escaped("a name led out of the scratch")


@attack()
def set_user_id_file(targets: Targets) -> None:
    """A set-uid bit in the scratch helps nobody: nosuid, and no_new_privs."""
    with open("/proc/self/status", encoding="ascii") as status:
        lines = dict(line.split(":", 1) for line in status)
    if lines["NoNewPrivs"].strip() != "1":
        raise Escaped("no_new_privs is off")
    if int(lines["CapEff"], 16) or int(lines["CapPrm"], 16) or int(lines["CapAmb"], 16):
        raise Escaped("has capabilities")


@attack(at_none=ROOT_ESCAPES)
def remount(targets: Targets) -> None:
    """A read-only mount cannot be made writable, nor the scratch executable."""
    if LIBC.mount(None, b"/", None, 32 | 4096, None) == 0:  # MS_REMOUNT | MS_BIND
        raise Escaped("remounted the root")
    call(number(442, 442), -100, targets.scratch.encode(), 0, b"\0" * 32, 32)
    raise Escaped("mount_setattr works")


@attack(at_none=ESCAPES, after=folder_has_grown)
def create_pipe(targets: Targets) -> None:
    """No named pipe that others would open."""
    os.mkfifo(os.path.join(targets.open_folder, "pipe"))


@attack(at_none=ESCAPES, after=folder_has_grown)
def create_without_a_name(targets: Targets) -> None:
    """O_TMPFILE and then linkat is a way of making a file."""
    descriptor = os.open(targets.open_folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    source = f"/proc/self/fd/{descriptor}".encode()
    target = os.path.join(targets.open_folder, "named").encode()
    call(number(265, 37), -100, source, -100, target, 0x400)  # AT_SYMLINK_FOLLOW


@attack(at_none=ESCAPES, after=file_has_changed)
def write_through_a_mapping(targets: Targets) -> None:
    """A shared mapping is as writable as the file."""
    import mmap

    descriptor = os.open(targets.open_file, os.O_RDWR)
    with mmap.mmap(descriptor, 8) as view:
        view[:] = b"hostile!"


@attack(at_none=UNKNOWN, after=file_has_changed)
def write_through_own_memory(targets: Targets) -> None:
    """/proc/self/mem writes to read-only mappings, but to a copy: the file stays."""
    import ctypes
    import mmap

    descriptor = os.open(targets.open_file, os.O_RDONLY)
    LIBC.mmap.restype = ctypes.c_void_p
    place = LIBC.mmap(None, ctypes.c_size_t(4096), 1, mmap.MAP_PRIVATE, descriptor, 0)
    with open("/proc/self/mem", "rb+", buffering=0) as memory:
        memory.seek(int(place))
        memory.write(b"hostile!")


@attack(at_none=UNKNOWN)
def code_of_the_interpreter_in_memory(targets: Targets) -> None:
    """The text of a library in one's memory may be changed, the library may not."""
    import ctypes

    before = open(os.__file__, "rb").read(64)
    LIBC.mmap.restype = ctypes.c_void_p
    descriptor = os.open(os.__file__, os.O_RDONLY)
    place = LIBC.mmap(None, ctypes.c_size_t(4096), 1, 1, descriptor, 0)  # MAP_SHARED
    with open("/proc/self/mem", "rb+", buffering=0) as memory:
        memory.seek(int(place))
        memory.write(b"hostile!")
    if open(os.__file__, "rb").read(64) != before:
        raise Escaped("changed the standard library")


@attack(at_none=ESCAPES, after=file_has_changed)
def copy_onto(targets: Targets) -> None:
    """copy_file_range and splice write as write does."""
    own = os.path.join(targets.scratch, "own")
    with open(own, "wb") as file:
        file.write(b"hostile")
    source, target = os.open(own, os.O_RDONLY), os.open(targets.open_file, os.O_WRONLY)
    os.sendfile(target, source, 0, 7)


@attack(at_none=ESCAPES)
def exchange(targets: Targets) -> None:
    """RENAME_EXCHANGE puts a file of one's own in another's place."""
    own = os.path.join(targets.scratch, "own")
    with open(own, "w", encoding="ascii") as file:
        file.write("hostile")
    paths = (own.encode(), targets.open_file.encode())
    call(number(316, 276), -100, paths[0], -100, paths[1], 2)
    call(number(316, 276), -100, paths[0], -100, paths[1], 2)
    raise Escaped("exchanged a file outside with one of its own")


@attack(at_none=ESCAPES)
def open_by_the_newer_call(targets: Targets) -> None:
    """openat2 obeys the same rules."""
    how = struct.pack("=QQQ", os.O_WRONLY, 0, 0)
    call(437, -100, targets.open_file.encode(), how, len(how))
    raise Escaped("opened a file outside for writing")


@attack(at_none=ESCAPES, after=file_has_changed)
def truncate_while_opening(targets: Targets) -> None:
    """O_TRUNC changes a file even if it is only read."""
    os.open(targets.open_file, os.O_RDONLY | os.O_TRUNC)


@attack(at_none=UNKNOWN)
def out_of_the_root_by_descriptor(targets: Targets) -> None:
    """`..` of the root, of the working directory and of a descriptor stay inside."""
    for start in ("/", ".", targets.scratch):
        folder = os.open(start, os.O_RDONLY)
        for _ in range(64):
            folder = os.open("..", os.O_PATH, dir_fd=folder)
            try:
                handle = os.open(targets.secret.lstrip("/"), os.O_RDONLY, dir_fd=folder)
            except OSError:
                continue
            raise Escaped(f"read {os.read(handle, 99)!r} from {start}/..")


@attack()
def working_folder_that_is_gone(targets: Targets) -> None:
    """A working directory that was removed leads nowhere either."""
    own = os.path.join(targets.scratch, "gone")
    os.mkdir(own)
    os.chdir(own)
    os.rmdir(own)
    handle = os.open("../" * 64 + targets.secret.lstrip("/"), os.O_RDONLY)
    raise Escaped(f"read {os.read(handle, 99)!r}")


@attack(at_none=UNKNOWN)
def devices(targets: Targets) -> None:
    """Of the host's devices only those that do nothing are there."""
    harmless = {"full", "null", "random", "urandom", "zero", "fd", "shm", "stdin", "stdout"}
    for name in os.listdir("/dev"):
        if name in harmless | {"stderr"} or not stat.S_ISCHR(os.stat(f"/dev/{name}").st_mode):
            continue
        try:
            os.close(os.open(f"/dev/{name}", os.O_RDWR | os.O_NONBLOCK))
        except OSError:
            continue
        raise Escaped(f"opened /dev/{name}")


@attack()
def entropy_of_all(targets: Targets) -> None:
    """What is written to /dev/random would be mixed into everybody's numbers."""
    for name in ("random", "urandom"):
        descriptor = os.open(f"/dev/{name}", os.O_WRONLY)
        os.write(descriptor, b"\0" * 64)
    raise Escaped("wrote into the host's pool of entropy")
