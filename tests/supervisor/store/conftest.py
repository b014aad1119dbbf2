"""A real store in a folder of its own, and small ones on a file system of their own."""

import os
import subprocess

import pytest

from workmanager.store import WriterOptions, open_store
from workmanager.store.trim import Retention

# Tests fill tiny disks on purpose, and their events are from 1970.
ROOMY = WriterOptions(room_bytes=0, retention=Retention(history_s=1e12, idempotency_s=1e12))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def opened():
    """Open stores that are closed in the end: threads left behind would keep pytest from ending."""
    stores = []

    def open_one(folder, options=ROOMY):
        stores.append(open_store(folder, options=options))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(opened, folder):
    return opened(folder)


@pytest.fixture
def tiny_disk(tmp_path):
    """A tmpfs of 4 MiB; filled and emptied for real."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    point = tmp_path / "disk"
    point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", point], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not allowed: {mounted.stderr.decode().strip()}")
    yield point
    subprocess.run(["umount", "-l", point], check=True)
