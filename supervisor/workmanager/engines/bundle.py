"""Zip files that hold code: what they may hold, and how they become a folder of the cache.

An upload is foreign input. Names are checked before anything is written, sizes are counted while it
is unpacked and not believed from the directory, links do not exist in the result. A folder gets its
final name only when it is whole, so that a crash leaves nothing that looks usable.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from uuid import uuid4

from workmanager.errors import CodeError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_FILES = 2000
MAX_BYTES = 256 * 2**20
MAX_DEPTH = 16
COPY_BYTES = 1024 * 1024
ZIP_MAGIC = b"PK\x03\x04"

_NAME = re.compile(r"[^\x00-\x1f\x7f\\:]{1,200}")


def is_zip(code: bytes) -> bool:
    """Tell whether *code* begins as a zip file does."""
    return code.startswith(ZIP_MAGIC)


def read(code: bytes) -> dict[str, bytes]:
    """Return the files in a zip by their paths; a single folder around all of them is left out.

    Raises:
        CodeError: It is damaged, too large, or holds what is no plain file in it.
    """
    try:
        with zipfile.ZipFile(BytesIO(code)) as archive:
            return _without_common_folder(dict(_files(archive)))
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise _refusal(
            "upload", f"the zip file is damaged or of an unknown kind: {error}"
        ) from error


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write *files* below *folder*, which appears whole or not at all; it may exist already."""
    if folder.is_dir():
        os.utime(folder)  # it was used: `prune` looks at that
        return
    making = folder.with_name(f".{folder.name}-{uuid4().hex}")
    try:
        for name, body in files.items():
            path = making / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            path.chmod(0o644)  # executors may run under another uid
        _rename(making, folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def prune(folder: Path, *, max_bytes: int) -> None:
    """Delete the entries of *folder* that were used longest ago until it is at most *max_bytes*.

    Only while no executor runs: a running one may still load what lies in its entry.
    """
    if not folder.is_dir():
        return
    entries = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in entries:
        total += _size(path)
        if total > max_bytes or path.name.startswith("."):  # half-made ones of a crash
            _delete(path)


def _files(archive: zipfile.ZipFile) -> Iterable[tuple[str, bytes]]:
    left = MAX_BYTES
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > MAX_FILES:
        raise _refusal("upload", f"{len(entries)} files; {MAX_FILES} are allowed")
    for entry in entries:
        name = _checked_name(entry)
        with archive.open(entry) as source:
            body = source.read(left + 1)
        left -= len(body)
        if left < 0:
            raise _refusal("upload", f"unpacks to more than {MAX_BYTES >> 20} MiB")
        yield name, body


def _checked_name(entry: zipfile.ZipInfo) -> str:
    name = entry.filename
    parts = PurePosixPath(name).parts
    is_plain = stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG)
    is_below = not name.startswith("/") and ".." not in parts and len(parts) <= MAX_DEPTH
    if not (is_plain and is_below and parts and all(_NAME.fullmatch(part) for part in parts)):
        raise _refusal(repr(name)[:100], "is no plain file below the upload's folder")
    return "/".join(parts)


def _without_common_folder(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out `publish/` where everything lies in it, as many tools pack it."""
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or any("/" not in name for name in files):
        return files
    return {name.partition("/")[2]: body for name, body in files.items()}


def _rename(making: Path, folder: Path) -> None:
    try:
        making.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another start of the same code was faster
            raise


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _refusal(place: str, detail: str) -> CodeError:
    return CodeError(f"{place}: {detail}", faults=[Fault(place, detail)])
