"""Groups of executors: what is written where, and what is read back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode hides the fake otherwise

from fake_cgroups import Hierarchy

from workmanager.executors.cgroups import Group, open_tree
from workmanager.model.spec_process import Resources

RESOURCES = Resources.model_validate(
    {"memoryMax": "64MiB", "pidsMax": 7, "cpuMax": 0.5, "cpuWeight": 300, "ioWeight": 20}
)


@pytest.fixture
def hierarchy(tmp_path):
    return Hierarchy(tmp_path)


def text(path):
    return path.read_text()


def test_service_moves_to_a_leaf_and_passes_controllers_on(hierarchy):
    tree, words = open_tree(hierarchy.mounts, hierarchy.own)
    assert tree is not None
    assert words == "controllers cpu, io, memory, pids"
    leaf = hierarchy.unit / "supervisor"
    assert text(leaf / "cgroup.procs") == str(os.getpid())
    assert text(leaf / "cpu.weight").startswith("1000")
    assert text(leaf / "io.weight") == "default 1000"
    assert text(hierarchy.unit / "cgroup.subtree_control").startswith("+pids")  # the last one
    assert tree.controllers == {"cpu", "io", "memory", "pids"}


def test_limits_are_written_before_anybody_is_in(hierarchy):
    tree, _ = open_tree(hierarchy.mounts, hierarchy.own)
    place = hierarchy.group("orders-1")
    tree.group("orders-1", RESOURCES)
    assert text(place / "memory.max") == f"{64 * 2**20}"
    assert text(place / "memory.swap.max").startswith("0")
    assert text(place / "memory.oom.group").startswith("1")
    assert text(place / "pids.max").startswith("7")
    assert text(place / "cpu.max") == "50000 100000"
    assert text(place / "cpu.weight").startswith("300")
    assert text(place / "io.weight").startswith("default 20")
    assert text(place / "cgroup.procs") == ""


def test_only_delegated_controllers_are_used(tmp_path):
    hierarchy = Hierarchy(tmp_path, "memory pids")
    tree, words = open_tree(hierarchy.mounts, hierarchy.own)
    assert words == "controllers memory, pids"
    place = hierarchy.group("a")
    tree.group("a", RESOURCES)
    assert text(place / "cpu.max") == "max 100000\n"
    assert text(place / "pids.max").startswith("7")


def test_evidence_and_processor_time_are_read(hierarchy):
    group = Group(hierarchy.group("a"))
    evidence = group.evidence()
    assert (evidence.oom_kills, evidence.pids_refused, evidence.throttled_s) == (1, 2, 1.5)
    assert group.cpu_ns() == 2_500_000_000
    assert not group.is_populated()
    (hierarchy.unit / "x-a" / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    assert group.is_populated()


def test_a_group_that_is_gone_says_nothing(tmp_path):
    group = Group(tmp_path / "nowhere")
    group.kill()
    group.remove()
    assert group.evidence().oom_kills == 0
    assert group.cpu_ns() == 0
    with pytest.raises(FileNotFoundError):
        group.open_members()


def test_weights_change_while_it_runs(hierarchy):
    group = Group(hierarchy.group("a"), frozenset({"cpu"}))
    group.weigh(Resources.model_validate({"cpuWeight": 777, "ioWeight": 9}))
    assert text(hierarchy.unit / "x-a" / "cpu.weight").startswith("777")
    assert text(hierarchy.unit / "x-a" / "io.weight") == "default 100\n"


def test_what_a_former_run_left_is_killed(hierarchy):
    old = hierarchy.group("old-7")
    open_tree(hierarchy.mounts, hierarchy.own)
    assert text(old / "cgroup.kill") == "1"


def test_service_that_is_in_its_leaf_already_finds_its_tree(hierarchy):
    hierarchy.own.write_text("0::/unit/supervisor\n")
    (hierarchy.unit / "cgroup.procs").write_text("")
    tree, _ = open_tree(hierarchy.mounts, hierarchy.own)
    assert tree is not None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda h: h.mounts.write_text("24 1 0:22 / /proc rw - proc proc rw\n"), "no cgroup v2"),
        (lambda h: h.own.write_text("4:memory:/x\n"), "no cgroup v2"),
        (lambda h: h.own.write_text("0::/\n"), "root group"),
        (lambda h: (h.unit / "cgroup.controllers").write_text("cpu pids\n"), "memory are not"),
        (lambda h: (h.unit / "cgroup.procs").write_text(f"{os.getpid()}\n1\n"), "other processes"),
        (lambda h: (h.unit / "supervisor" / "cgroup.procs").unlink(), "not delegated"),
    ],
)
def test_without_delegation_nothing_is_touched_and_the_reason_is_said(hierarchy, change, why):
    change(hierarchy)
    tree, words = open_tree(hierarchy.mounts, hierarchy.own)
    assert tree is None
    assert why in words
    assert text(hierarchy.unit / "cgroup.subtree_control") == ""


def bare_mount():
    """Return a cgroup2 mount where groups can be made, controllers or not; None without."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and os.access(before.split()[4], os.W_OK):
            return Path(before.split()[4])
    return None


@pytest.mark.skipif(bare_mount() is None, reason="no writable cgroup v2 mount here")
def test_kernel_kills_a_whole_group_with_its_daemons():
    place = bare_mount() / f"workmanager-test-{os.getpid()}"
    place.mkdir()
    group = Group(place)
    code = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(int(sys.argv[1]), b"0")
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
        os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""
    members = group.open_members()
    command = [sys.executable, "-S", "-c", code, str(members)]
    try:
        with subprocess.Popen(command, pass_fds=[members], stdout=subprocess.PIPE) as process:
            os.close(members)
            assert process.stdout.readline() == b"ready\n"
            assert group.is_populated()
            assert len((place / "cgroup.procs").read_text().split()) == 4
            group.kill()
            assert process.wait(5) == -signal.SIGKILL
        deadline = time.monotonic() + 5
        while group.is_populated() and time.monotonic() < deadline:
            time.sleep(0.001)  # the kernel's border: nobody there tells us
        assert not group.is_populated()
    finally:
        group.kill()
        group.remove()
    assert not place.exists()
