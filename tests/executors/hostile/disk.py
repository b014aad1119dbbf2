"""Attacks on the scratch and on the disks below: more bytes, more files, everybody's time."""

from __future__ import annotations

import mmap
import os
import signal
import time

from cage import (
    ESCAPES,
    ISOLATED,
    NOT_RUN,
    ROOT_ESCAPES,
    UNKNOWN,
    Escaped,
    Targets,
    attack,
    call,
    number,
)

NO_QUOTA = {"basic": "the scratch is a folder of the host: no quota without a mount namespace"}


@attack(at_none=ESCAPES, leaks=NO_QUOTA)
def disk(targets: Targets) -> None:
    """The scratch has a size."""
    written = 0
    for index in range(8):
        with open(os.path.join(targets.scratch, f"fill{index}"), "wb") as file:
            written += file.write(b"x" * (targets.scratch_bytes // 4))
    raise Escaped(f"{written} bytes in a scratch of {targets.scratch_bytes}")


@attack(at_none=ESCAPES, leaks=NO_QUOTA)
def inodes(targets: Targets) -> None:
    """The scratch has a number of files."""
    for index in range(4 * targets.scratch_inodes):
        os.mkdir(os.path.join(targets.scratch, str(index)))
    raise Escaped(f"{4 * targets.scratch_inodes} folders")


@attack(at_none=UNKNOWN)
def huge_file(targets: Targets) -> None:
    """RLIMIT_FSIZE: EFBIG, or SIGXFSZ."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open(os.path.join(targets.scratch, "huge"), "wb") as file:
        file.truncate(1 << 30)
    raise Escaped("a sparse file of 1 GiB")


@attack(at_none=NOT_RUN)
def everybodys_disks(targets: Targets) -> None:
    """sync(2) returns at once and flushes nothing: 2000 calls take no time."""
    started = time.monotonic()
    for _ in range(2000):
        os.sync()
    elapsed_s = time.monotonic() - started
    if elapsed_s > 0.5:
        raise Escaped(f"2000 syncs took {elapsed_s:.1f} s")


@attack(at_none=ESCAPES)
def disks_by_one_file(targets: Targets) -> None:
    """fsync of a file that may only be read flushes the disk for all: it does nothing here."""
    with open(os.__file__, "rb") as file:
        view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        started = time.monotonic()
        for _ in range(1000):
            os.fsync(file.fileno())
            os.fdatasync(file.fileno())
            view.flush()
        elapsed_s = time.monotonic() - started
    if elapsed_s > 0.1:
        raise Escaped(f"3000 flushes of the disk took {elapsed_s:.1f} s of its time")


@attack(levels=ISOLATED, at_none=ESCAPES, leaks={})
def deleted_files(targets: Targets) -> None:
    """Files without a name count against the scratch as long as they are open."""
    kept = []
    for index in range(8):
        path = os.path.join(targets.scratch, f"gone{index}")
        kept.append(open(path, "wb", buffering=0))
        os.unlink(path)
        if kept[-1].write(b"x" * (targets.scratch_bytes // 4)) < targets.scratch_bytes // 4:
            return
    raise Escaped("twice the scratch in files without names")


@attack(levels=ISOLATED, at_none=ESCAPES)
def preallocated_space(targets: Targets) -> None:
    """fallocate is no way around the size of the scratch."""
    for index in range(8):
        descriptor = os.open(os.path.join(targets.scratch, str(index)), os.O_CREAT | os.O_WRONLY)
        os.posix_fallocate(descriptor, 0, targets.scratch_bytes // 4)
    raise Escaped("twice the scratch")


@attack(levels=ISOLATED, at_none=ESCAPES)
def deep_folders(targets: Targets) -> None:
    """Folders in folders count as files do, however deep."""
    here = os.open(targets.scratch, os.O_RDONLY)
    for _ in range(4 * targets.scratch_inodes):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    raise Escaped(f"{4 * targets.scratch_inodes} folders in each other")


@attack(levels=ISOLATED, at_none=ESCAPES)
def flood_of_links(targets: Targets) -> None:
    """Long symbolic links take memory and count as files."""
    for index in range(4 * targets.scratch_inodes):
        os.symlink("x" * 4000, os.path.join(targets.scratch, f"l{index}"))
    raise Escaped(f"{4 * targets.scratch_inodes} links of 4000 bytes")


@attack(levels=ISOLATED)
def flood_of_names_for_one_file(targets: Targets) -> None:
    """Hard links count as well: a name of a tmpfs is an entry in memory."""
    path = os.path.join(targets.scratch, "file")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    for index in range(40 * targets.scratch_inodes):
        os.link(path, os.path.join(targets.scratch, f"h{index}"))
    raise Escaped(f"{40 * targets.scratch_inodes} hard links")


@attack(levels=ISOLATED)
def attributes_of_files(targets: Targets) -> None:
    """Extended attributes of the scratch are bounded or missing."""
    path = os.path.join(targets.scratch, "file")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    for index in range(20_000):
        os.setxattr(path, f"user.{index}", b"x" * 1000)
    raise Escaped("20 MB of extended attributes")


@attack(at_none=ROOT_ESCAPES)
def real_time_disk_priority(targets: Targets) -> None:
    """ioprio_set to the real-time class takes a capability."""
    call(number(251, 30), 1, 0, 1 << 13)
    raise Escaped("real-time priority on the disk")
