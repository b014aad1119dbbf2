"""What the sandbox of one executor is told."""

from __future__ import annotations

import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from workmanager.executors.isolation import profiles
from workmanager.executors.isolation.interpreters import folders_of
from workmanager.model.spec import WorkerSpec
from workmanager_executor.sandbox.profile import parse

MIB = 2**20


def spec_of(**fields):
    return WorkerSpec.model_validate(fields)


@pytest.mark.parametrize("level", ["none", "basic", "full", "uid"])
def test_every_profile_is_one_that_the_sandbox_takes(level):
    spec = spec_of(isolation={"network": "ports", "ports": [443], "readPaths": ["/opt/data"]})
    made = profiles.make(spec, level=level, uid=1234, scratch="/var/x", paths=["/opt/engine"])
    profile = parse(made)
    assert profile.level == level
    assert dict(profile.limits)["memoryBytes"] == 256 * MIB + profiles.STACK_BYTES
    if level != "none":
        assert profile.ports == (443,)
        assert profile.read_paths == ("/opt/engine", "/opt/data")
        assert not profile.subprocess_allowed
        assert (profile.scratch_bytes, profile.scratch_inodes) == (64 * MIB, 2048)


def test_executors_that_share_a_uid_have_room_for_all_of_them():
    spec = spec_of(concurrency={"executors": 40}, resources={"pidsMax": 8})
    made = {level: profiles.make(spec, level=level, uid=7)["limits"] for level in ("full", "uid")}
    assert made["full"]["processes"] == 8
    assert made["uid"]["processes"] == 8 * 41


def test_scratch_always_has_a_size():
    """A tmpfs of size 0 would have no limit at all."""
    made = profiles.make(spec_of(resources={"tmpSize": 0}), level="full", uid=None)
    assert made["scratchBytes"] == profiles.LEAST_SCRATCH_BYTES
    large = profiles.make(spec_of(resources={"tmpSize": "1GiB"}), level="full", uid=None)
    assert large["scratchInodes"] == 32_768


def test_threads_get_room_for_their_stacks():
    spec = spec_of(concurrency={"perExecutor": 16}, resources={"memoryMax": "64MiB"})
    assert profiles.limits(spec)["memoryBytes"] == (64 + 16 * 8) * MIB


def test_address_space_is_free_where_a_cgroup_bounds_memory():
    assert "addressSpaceBytes" not in profiles.limits(spec_of())
    assert profiles.limits(spec_of(), memory_is_grouped=True)["addressSpaceBytes"] == 0


@pytest.mark.slow
def test_virtual_environment_needs_itself_and_what_it_was_made_from(tmp_path):
    folder = tmp_path / "env"
    venv.create(folder, symlinks=True)
    found = folders_of(str(folder / "bin" / "python"))
    assert str(folder) in found
    library = Path(sysconfig.get_path("stdlib")).resolve()
    assert any(library.is_relative_to(place) for place in [*found, "/usr"])


def test_interpreter_elsewhere_brings_its_installation(tmp_path):
    prefix = tmp_path / "opt" / "python"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib" / "python3.12").mkdir(parents=True)
    binary = prefix / "bin" / "python3.12"
    binary.touch()
    link = tmp_path / "python"
    link.symlink_to(binary)
    assert folders_of(str(link)) == [str(prefix)]


def test_interpreter_in_somebodys_home_does_not_open_the_home(tmp_path, monkeypatch):
    home = tmp_path / "home" / "alice"
    (home / "bin").mkdir(parents=True)
    (home / "lib" / "python3.12").mkdir(parents=True)
    (home / "bin" / "python3").touch()
    entries = [type("Entry", (), {"pw_dir": str(home)})()]
    monkeypatch.setattr("pwd.getpwall", lambda: entries)
    found = folders_of(str(home / "bin" / "python3"))
    assert found == [str(home / "bin" / "python3"), str(home / "lib")]


def test_system_interpreter_needs_nothing_more():
    real = Path("/usr/bin/env").resolve()
    assert folders_of(str(real)) == [str(real)]
    assert folders_of(sys.executable)
