"""Opening a state folder: what is made, and every reason to refuse it with a next step."""

import errno
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from workmanager.errors import StateFolderError
from workmanager.store import lock as lock_module
from workmanager.store import migrate as migrate_module
from workmanager.store import open as open_module
from workmanager.store import open_store
from workmanager.store.lock import file_system
from workmanager.store.migrate import migrations


def make(folder):
    open_store(folder).close()
    return folder


def refusal(folder):
    with pytest.raises(StateFolderError) as caught:
        open_store(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_the_folder_and_its_files_are_private(opened, folder):
    old = os.umask(0)
    try:
        opened(folder / "deep")
    finally:
        os.umask(old)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (folder / "deep").iterdir()}
    assert stat.S_IMODE((folder / "deep").stat().st_mode) == 0o700
    assert modes == dict.fromkeys(("lock", "state.db", "state.db-wal", "state.db-shm"), 0o600)


def test_opening_again_after_closing_works(folder):
    make(make(folder))


def test_a_second_store_is_refused_with_the_pid_of_the_first(opened, folder):
    store = opened(folder)
    message = refusal(folder)
    assert f"pid {os.getpid()}" in message
    assert "stop it" in message
    store.close()
    make(folder)


def test_a_refused_open_leaves_no_descriptor_behind(opened, folder):
    opened(folder)
    before = len(list(Path("/proc/self/fd").iterdir()))
    refusal(folder)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


HOLDER = """
import sys, pathlib
from workmanager.store import open_store
store = open_store(pathlib.Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_killed_owner_leaves_the_folder_free(folder):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with child:
        assert child.stdout.readline() == b"open\n"
        assert f"pid {child.pid}" in refusal(folder)
        child.kill()
        child.wait(10)
        make(folder)


def test_a_newer_schema_is_refused(folder):
    make(folder)
    connection = sqlite3.connect(folder / "state.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    message = refusal(folder)
    assert "schema 99" in message
    assert "upgrade" in message


def test_a_database_of_another_program_is_refused(folder):
    folder.mkdir()
    connection = sqlite3.connect(folder / "state.db")
    connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    assert "another program" in refusal(folder)


def test_a_file_that_is_no_database_is_refused(folder):
    folder.mkdir()
    (folder / "state.db").write_bytes(b"not a database at all " * 500)
    assert "not a SQLite database" in refusal(folder)


def test_a_damaged_database_is_refused(folder):
    make(folder)
    path = folder / "state.db"
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = bytes(3996)  # the schema's page
    path.write_bytes(damaged)
    message = refusal(folder)
    assert "damaged" in message
    assert "restore a backup" in message


def test_a_file_instead_of_a_folder_is_refused(folder):
    folder.write_text("")
    assert "name a folder" in refusal(folder)
    with pytest.raises(StateFolderError, match="name a folder"):
        open_store(folder / "below")


def test_a_read_only_file_system_is_refused(tiny_disk):
    make(tiny_disk / "state")
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    assert "remount it for writing" in refusal(tiny_disk / "state")
    assert "remount it for writing" in refusal(tiny_disk / "new")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_refused(folder):
    folder.mkdir(mode=0o500)
    assert "chown" in refusal(folder)


AS_NOBODY = """
import os, sys, pathlib
from workmanager.store import open_store
os.setgid(65534); os.setuid(65534)
try:
    open_store(pathlib.Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_without_permission_is_refused_to_another_user(folder, mode):
    make(folder)
    folder.chmod(mode)
    said = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, folder],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert said.stdout.startswith("StateFolderError"), said
    assert "chown" in said.stdout


def test_a_full_disk_at_the_start_is_refused(tiny_disk):
    (tiny_disk / "ballast").write_bytes(bytes(4 * 1024 * 1024 - 8192))
    assert "make room" in refusal(tiny_disk / "state")
    (tiny_disk / "ballast").unlink()
    make(tiny_disk / "state")


def test_a_network_file_system_is_refused(folder, monkeypatch, tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"36 35 0:30 / {tmp_path} rw,relatime - nfs4 server:/export rw\n")
    monkeypatch.setattr(lock_module, "MOUNTS", mounts)
    message = refusal(folder)
    assert "network file system (nfs4)" in message
    assert "local disk" in message


def test_a_file_system_without_locks_is_refused(folder, monkeypatch):
    def flock(fd, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    message = refusal(folder)
    assert "no file locks" in message
    assert "local disk" in message


def test_the_innermost_and_latest_mount_counts(tmp_path):
    mounts = (
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "23 22 0:20 / /mnt rw shared:1 master:2 - tmpfs tmpfs rw\n"
        "24 23 0:21 / /mnt/a\\040b rw - nfs server:/x rw\n"
        "25 22 0:22 / /mnt rw - xfs /dev/vdb rw\n"
    )
    assert file_system(Path("/var/lib"), mounts) == "ext4"
    assert file_system(Path("/mnt/state"), mounts) == "xfs"
    assert file_system(Path("/mnt/a b/state"), mounts) == "nfs"
    assert file_system(Path("/mntstate"), mounts) == "ext4"
    assert file_system(Path("/"), "") == ""


def test_migrations_are_numbered_without_a_gap():
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_failed_migration_leaves_nothing(folder, monkeypatch):
    make(folder)
    newest = migrations()[-1][0]
    broken = [*migrations(), (newest + 1, "CREATE TABLE half (x); SELECT no such thing;")]
    monkeypatch.setattr(migrate_module, "migrations", lambda: broken)
    refusal(folder)
    connection = sqlite3.connect(folder / "state.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (newest,)
    assert connection.execute("SELECT * FROM sqlite_schema WHERE name = 'half'").fetchall() == []
    connection.close()


def test_the_disk_gets_back_what_a_backlog_had_taken(folder, monkeypatch):
    monkeypatch.setattr(open_module, "COMPACT_BYTES", 1024 * 1024)
    make(folder)
    connection = sqlite3.connect(folder / "state.db")
    connection.execute("INSERT INTO segment VALUES (1, 1.0, zeroblob(8000000))")
    connection.execute("INSERT INTO segment VALUES (2, 1.0, zeroblob(100000))")
    connection.commit()
    make(folder)
    assert (folder / "state.db").stat().st_size > 8_000_000
    connection.execute("DELETE FROM segment WHERE id = 1")
    connection.commit()
    connection.close()
    make(folder)
    assert (folder / "state.db").stat().st_size < 500_000
    connection = sqlite3.connect(folder / "state.db")
    assert connection.execute("SELECT id, length(body) FROM segment").fetchall() == [(2, 100_000)]
    connection.close()
