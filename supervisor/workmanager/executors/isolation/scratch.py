"""The writable folders of executors at level basic, which have no file system of their own.

    <state>/scratch/<executor>/        made before its start, gone when it is

There is no quota on them (`scratch: degraded`): a watcher measures them and ends an executor whose
folder has outgrown `resources.tmpSize`. What lies in them was made by hostile code: paths that are
too long for the kernel, folders that nobody may enter, links to elsewhere, files that were deleted
and are still being written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK_BYTES = 512  # the unit of st_blocks, stat(2)
TOO_MUCH = 1 << 62

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Scratch:
    """The folder that holds them."""

    root: Path

    def make(self, executor: str) -> Path:
        """Make the folder of an executor.

        Raises:
            OSError: The disk is full or read-only.
        """
        folder = self.root / executor
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def drop(self, executor: str) -> None:
        """Delete the folder of an executor that is gone; one that has none is no error."""
        delete(self.root / executor)

    def clear(self) -> None:
        """Delete what a former run left behind."""
        delete(self.root)

    def size_bytes(self, executor: str, pid: int, max_entries: int) -> int:
        """Return what an executor has on the disk; see `measure` and `deleted_bytes`."""
        return measure(self.root / executor, max_entries) + deleted_bytes(pid)


def measure(folder: Path, max_entries: int) -> int:
    """Return the bytes that *folder* takes on the disk, with everything below it; 0 without one.

    Links are not followed. More than *max_entries* count as infinitely large, and so does what
    cannot be looked at: a folder without rights, a path longer than the kernel takes.
    """
    total = seen = 0
    todo = [str(folder)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    seen += 1
                    if seen > max_entries:
                        return TOO_MUCH
                    with contextlib.suppress(FileNotFoundError):
                        total += entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):  # else it has gone meanwhile
                return TOO_MUCH
    return total


def deleted_bytes(pid: int) -> int:
    """Return the bytes of files that *pid* holds open and that have no name any more."""
    total = 0
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - names are enough
            with contextlib.suppress(OSError):
                found = os.stat(f"/proc/{pid}/fd/{number}")  # noqa: PTH116
                if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                    total += found.st_blocks * BLOCK_BYTES
    return total


def delete(folder: Path) -> None:
    """Delete a tree of any depth; a file system that refuses keeps what it has.

    Every folder in it is moved to the top before it is emptied, so that neither paths nor the
    number of open files nor the stack grow with its depth. No link is followed.
    """
    numbers = count()
    with contextlib.suppress(OSError):
        top = os.open(folder, _FOLDER)
        try:
            while _lift(top, numbers):
                pass
        finally:
            os.close(top)
        folder.rmdir()


def _lift(top: int, numbers: Iterator[int]) -> bool:
    """Empty the folders in *top*, moving theirs up to it; False when there are none left."""
    folders = _unlink_files(top)
    for name in folders:
        _let_in(name, top)
        inside = os.open(name, _FOLDER, dir_fd=top)
        try:
            for below in _unlink_files(inside):
                _let_in(below, inside)  # rename(2) wants the right to write into what is moved
                _move_up(below, inside, top, numbers)
        finally:
            os.close(inside)
        os.rmdir(name, dir_fd=top)
    return bool(folders)


def _unlink_files(folder: int) -> list[str]:
    """Delete the files and links in it; returns the folders."""
    folders = []
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            os.unlink(entry.name, dir_fd=folder)
    return folders


def _let_in(name: str, folder: int) -> None:
    """Give ourselves all rights in a folder that may be closed to us."""
    found = os.open(name, _FOLDER | os.O_PATH, dir_fd=folder)
    try:
        os.chmod(f"/proc/self/fd/{found}", 0o700)  # noqa: PTH101 - chmod by name follows links
    finally:
        os.close(found)


def _move_up(name: str, folder: int, top: int, numbers: Iterator[int]) -> None:
    while True:
        try:
            os.rename(name, f"{next(numbers)}", src_dir_fd=folder, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        else:
            return
