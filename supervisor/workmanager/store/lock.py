"""One state folder, one supervisor: an exclusive lock that dies with its process.

flock(2), not fcntl(2): an fcntl lock is lost as soon as any part of the process closes any
descriptor of the file. The lock file stays when it is released; removing it would let two
processes lock two different files of the same name.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from workmanager.errors import StateFolderError

NAME = "lock"
MOUNTS = Path("/proc/self/mountinfo")

# SQLite's log needs memory shared by all openers, and flock here is only as good as the server's.
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs"}
)


def lock_folder(folder: Path) -> int:
    """Lock *folder* for this process; return the descriptor whose closing releases it.

    Raises:
        StateFolderError: Another process holds it, or the file system has no reliable locks.
    """
    _refuse_network(folder)
    fd = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(fd, folder)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def file_system(folder: Path, mountinfo: str) -> str:
    """Return the type of the file system that holds *folder*, an absolute path without links.

    Source: proc(5), /proc/pid/mountinfo: `id parent dev root mount-point options... - type ...`.
    """
    best, kind = Path(), ""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        mount = Path(fields.split(" ")[4].replace("\\040", " "))
        # At equal depth the later mount lies on top of the earlier one.
        if folder.is_relative_to(mount) and len(mount.parts) >= len(best.parts):
            best, kind = mount, rest.split(" ", 1)[0]
    return kind


def _refuse_network(folder: Path) -> None:
    try:
        kind = file_system(folder.resolve(), MOUNTS.read_text())
    except OSError:  # no /proc: the lock below has to do
        return
    if kind in NETWORK_FILE_SYSTEMS:
        msg = (
            f"the state folder {folder} is on a network file system ({kind}), which SQLite's"
            " write-ahead log and file locks cannot rely on; put it on a local disk"
        )
        raise StateFolderError(msg, metadata={"folder": str(folder), "fileSystem": kind})


def _lock(fd: int, folder: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        msg = (
            f"the state folder {folder} is in use by another supervisor (pid {pid}); stop it, or"
            " give this one a folder of its own"
        )
        raise StateFolderError(msg, metadata={"folder": str(folder), "pid": pid}) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
        msg = (
            f"the file system of the state folder {folder} has no file locks ({error.strerror});"
            " put it on a local disk"
        )
        raise StateFolderError(msg, metadata={"folder": str(folder)}) from error
