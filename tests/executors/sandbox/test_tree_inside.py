"""The executor's own tree, looked at from inside."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(params=["full", "uid"])
def inside(jailer, request):
    if request.param == "uid" and os.geteuid() != 0:
        pytest.skip("level uid needs root")
    uid = {"uid": 64999} if request.param == "uid" else {}

    def run(code, **profile):
        return jailer.run(code, level=request.param, **uid, **profile)

    return run


def test_nothing_of_the_host_but_what_is_bound(inside):
    top, home = inside("import os; tell([sorted(os.listdir('/')), os.path.exists('/home')])")
    assert {"dev", "etc", "proc", "tmp", "usr"} <= set(top)
    assert not {"boot", "home", "media", "mnt", "opt", "run", "srv"} & set(top)
    assert not home


def test_every_mount_is_read_only_but_the_scratch(inside):
    mounts = inside("""
        with open("/proc/self/mountinfo") as file: lines = [line.split() for line in file]
        tell([[line[4], line[5].split(",")] for line in lines])
    """)
    assert [path for path, options in mounts if "rw" in options] == ["/tmp"]
    assert all("nosuid" in options for _, options in mounts)
    by_path = dict(mounts)
    assert {"nodev", "noexec"} <= set(by_path["/tmp"])
    assert {"nodev", "noexec"} <= set(by_path["/proc"])
    assert [path for path, options in mounts if "nodev" not in options] == sorted(
        path for path in by_path if path.startswith("/dev/")
    )


def test_scratch_has_its_size_and_its_inodes(inside):
    blocks, inodes, owner = inside(
        """
        import os
        found = os.statvfs("/tmp")
        size = found.f_frsize * found.f_blocks
        tell([size, found.f_files, os.stat("/tmp").st_uid == os.getuid()])
        """,
        scratchBytes=3 << 20,
        scratchInodes=99,
    )
    assert (blocks, inodes, owner) == (3 << 20, 99, True)


def test_it_is_the_first_process_and_alone(inside):
    assert inside("""
        import os
        tell([os.getpid(), os.getppid(), sorted(filter(str.isdigit, os.listdir("/proc")))])
    """) == [1, 0, ["1"]]


def test_network_holds_nothing(inside):
    assert inside("""
        with open("/proc/net/dev") as file: tell([line.split(":")[0].strip() for line in file][2:])
    """) == ["lo"]


def test_host_name_is_hidden(inside):
    assert inside("import os; tell(os.uname().nodename)") == "worker"


def test_users_are_one(inside):
    name, count = inside("""
        import os, pwd
        tell([pwd.getpwuid(os.getuid()).pw_name, len(pwd.getpwall())])
    """)
    assert (name, count) == ("worker", 1)


def test_shared_memory_is_scratch(inside):
    assert inside("import os; tell(os.path.realpath('/dev/shm'))") == "/tmp"


def test_an_ordinary_user_keeps_its_uid(ordinary_jailer):
    uid, groups = ordinary_jailer.run(
        "import os; tell([os.getuid(), os.getgroups()])", level="full"
    )
    assert uid != 0
    assert groups == []


def test_root_is_left_at_every_isolated_level(inside):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    assert inside("import os; tell(0 in (os.getuid(), os.geteuid(), os.getgid()))") is False
