"""Which paths an executor sees: links followed by hand, nothing twice, nothing hollow."""

from __future__ import annotations

import pytest

from workmanager_executor.sandbox import SandboxError
from workmanager_executor.sandbox.profile import parse
from workmanager_executor.sandbox.trees import is_current, plan


def planned(*paths, runtime=("/usr",)):
    return plan(parse({"readPaths": [str(path) for path in paths], "runtimePaths": list(runtime)}))


def test_folder_and_its_parents(tmp_path):
    (tmp_path / "venv" / "lib").mkdir(parents=True)
    tree = planned(tmp_path / "venv")
    assert str(tmp_path / "venv") in tree.binds
    assert str(tmp_path.parents[-2]) in tree.directories
    assert tree.directories.index(str(tmp_path)) < tree.directories.index(str(tmp_path / "venv"))


def test_file_is_a_place_to_mount_upon(tmp_path):
    (tmp_path / "config").write_text("x")
    tree = planned(tmp_path / "config")
    assert str(tmp_path / "config") in tree.files
    assert str(tmp_path / "config") not in tree.directories


def test_what_lies_inside_is_not_bound_again(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    tree = planned(tmp_path / "a" / "b", tmp_path / "a", "/usr/lib")
    assert [path for path in tree.binds if str(tmp_path) in path] == [str(tmp_path / "a")]
    assert "/usr/lib" not in tree.binds


def test_links_on_the_way_are_laid_out_again(tmp_path):
    (tmp_path / "releases" / "2").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/2")
    tree = planned(tmp_path / "current")
    assert (str(tmp_path / "current"), "releases/2") in tree.links
    assert str(tmp_path / "releases" / "2") in tree.binds


def test_a_changed_link_makes_the_plan_old(tmp_path):
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    link = tmp_path / "current"
    link.symlink_to("1")
    tree = planned(link)
    assert is_current(tree)
    link.unlink()
    link.symlink_to("2")
    assert not is_current(tree)
    link.unlink()
    assert not is_current(tree)


def test_a_circle_of_links_is_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SandboxError, match="symbolic links"):
        planned(tmp_path / "a")


def test_what_was_asked_for_has_to_exist(tmp_path):
    with pytest.raises(SandboxError, match="does not exist"):
        planned(tmp_path / "missing")


def test_runtime_paths_may_be_missing(tmp_path):
    assert "/usr" in planned(runtime=("/usr", str(tmp_path / "missing"))).binds


def test_a_link_may_not_lead_into_proc_or_to_the_root(tmp_path):
    for target in ("/proc/self", "/", "/sys/kernel"):
        link = tmp_path / "way-out"
        link.symlink_to(target)
        with pytest.raises(SandboxError, match="void"):
            planned(link)
        link.unlink()
