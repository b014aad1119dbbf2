"""The writable folders of executors at level basic, which have no file system of their own.

    <state>/scratch/<executor>/        made before its start, gone when it is

There is no quota on them (`scratch: degraded`): a watcher measures them and ends an executor whose
folder has outgrown `resources.tmpSize`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_BYTES = 512  # the unit of st_blocks, stat(2)
TOO_MUCH = 1 << 62


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
        with contextlib.suppress(OSError):
            _delete(self.root / executor)

    def clear(self) -> None:
        """Delete what a former run left behind."""
        if self.root.is_dir():
            _delete(self.root)

    def size_bytes(self, executor: str, max_entries: int) -> int:
        """Return what the folder takes on the disk; 0 if there is none."""
        return measure(self.root / executor, max_entries)


def measure(folder: Path, max_entries: int) -> int:
    """Return the bytes that *folder* takes on the disk, with everything below it.

    Links are not followed. More than *max_entries* count as infinitely large.
    """
    total = seen = 0
    todo = [str(folder)]
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError:
            continue
        seen += len(entries)
        if seen > max_entries:
            return TOO_MUCH
        for entry in entries:
            with contextlib.suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
    return total


def _delete(folder: Path) -> None:
    """Delete a tree that hostile code has made; no link in it is followed (`shutil.rmtree`)."""
    for parent, folders, _ in os.walk(folder):
        for name in folders:
            path = os.path.join(parent, name)  # noqa: PTH118 - as os.walk gives them
            if not os.path.islink(path):  # noqa: PTH114
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)  # noqa: PTH101 - it may have locked us out
    shutil.rmtree(folder, ignore_errors=True)
