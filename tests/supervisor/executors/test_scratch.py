"""Scratch folders of level basic: what hostile code leaves there is measured and deleted."""

from __future__ import annotations

import os
import subprocess

import pytest

from workmanager.executors.isolation.scratch import TOO_MUCH, Scratch, deleted_bytes, measure

DEEP = 3000  # folders in each other: beyond PATH_MAX, Python's stack and the limit of open files


@pytest.fixture
def scratch(tmp_path):
    yield Scratch(tmp_path / "scratch")
    subprocess.run(["rm", "-rf", tmp_path / "scratch"], check=True)  # too deep for pytest itself


def dig(folder, depth):
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(file, b"x" * 10_000)
    os.close(file)
    os.close(here)


def test_ordinary_folders_are_measured_and_dropped(scratch):
    folder = scratch.make("a-1")
    (folder / "sub" / "0").mkdir(parents=True)
    (folder / "sub" / "0" / "file").write_bytes(b"x" * 100_000)
    (folder / "link").symlink_to("/usr")
    (folder / "hole").touch()
    os.truncate(folder / "hole", 2**40)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert 100_000 <= measure(folder, 100) < 200_000
    assert measure(folder, 2) == TOO_MUCH
    scratch.drop("a-1")
    scratch.drop("never-made")
    assert not folder.exists()
    assert scratch.root.exists()


def test_depth_hides_nothing_and_keeps_nothing(scratch):
    folder = scratch.make("a-1")
    dig(folder, DEEP)
    (folder / "0").mkdir()
    (folder / "0" / "file").touch()
    (folder / "1").touch()
    assert measure(folder, 10 * DEEP) == TOO_MUCH
    scratch.clear()
    assert not scratch.root.exists()


def test_folders_without_rights_are_no_hiding_place(scratch):
    folder = scratch.make("a-1")
    (folder / "outer" / "closed" / "inner").mkdir(parents=True)
    (folder / "outer" / "closed" / "file").touch()
    (folder / "outer" / "closed").chmod(0)
    (folder / "outer").chmod(0o100)
    if os.geteuid() != 0:  # root may read it all
        assert measure(folder, 100) == TOO_MUCH
    scratch.drop("a-1")
    assert not folder.exists()


def test_links_lead_the_deletion_nowhere(scratch, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o750)
    (outside / "kept").touch()
    folder = scratch.make("a-1")
    (folder / "link").symlink_to(outside)
    (folder / "sub").mkdir()
    (folder / "sub" / "link").symlink_to(outside)
    scratch.drop("a-1")
    assert not folder.exists()
    assert (outside / "kept").exists()
    assert outside.stat().st_mode & 0o777 == 0o750


def test_deleted_files_count_while_they_are_open(scratch):
    folder = scratch.make("a-1")
    before = deleted_bytes(os.getpid())
    with (folder / "file").open("wb", buffering=0) as file:
        (folder / "file").unlink()
        file.write(b"x" * 300_000)
        assert measure(folder, 10) == 0
        assert scratch.size_bytes("a-1", os.getpid(), 10) - before >= 300_000
    assert deleted_bytes(2**22 + 1) == 0
