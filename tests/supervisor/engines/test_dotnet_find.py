"""Finding .NET: installations as they are laid out on disk, made of empty files."""

from __future__ import annotations

import json

import pytest

from workmanager.config import Settings
from workmanager.engines import dotnet, dotnet_common, registry


@pytest.fixture
def install(tmp_path):
    """Make an installation: runtimes, and SDKs by version with what their compiler needs."""

    def make(name="dotnet", *, runtimes=("9.0.7",), sdks=None, fxr=True):
        root = tmp_path / name
        for version in runtimes:
            touch(root / "shared" / dotnet.FRAMEWORK / version / "libcoreclr.so")
        if fxr:
            touch(root / "host" / "fxr" / "9.0.7" / "libhostfxr.so")
        for version, needs in (sdks or {}).items():
            folder = root / "sdk" / version / "Roslyn" / "bincore"
            touch(folder / dotnet.COMPILER)
            config = {"runtimeOptions": {"framework": {"version": needs}}}
            (folder / "csc.runtimeconfig.json").write_text(json.dumps(config))
        return root

    return make


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    ("runtimes", "version"),
    [
        (("8.0.30", "9.0.7", "10.0.1"), "10.0.1"),
        (("3.1.23", "8.0.1"), "8.0.1"),
        (("9.0.10", "9.0.9"), "9.0.10"),
        (("9.0.7", "10.0.0-rc.1.25451.107"), "9.0.7"),
        (("10.0.0-rc.1.25451.107",), "10.0.0-rc.1.25451.107"),
        (("6.0.36", "7.0.20"), None),
        ((), None),
    ],
)
def test_newest_runtime_that_is_new_enough(install, runtimes, version):
    found = dotnet.newest_runtime(install(runtimes=runtimes))
    assert (found and found.version) == version


def test_folder_without_a_host_is_no_installation(install):
    assert dotnet.newest_runtime(install(fxr=False)) is None


def test_places_are_looked_at_in_turn_and_the_newest_wins(install, monkeypatch, tmp_path):
    old, new = install("old", runtimes=("8.0.1",)), install("new", runtimes=("9.0.1",))
    monkeypatch.setenv("DOTNET_ROOT", str(old))
    monkeypatch.setenv("PATH", str(new))
    touch(new / "dotnet")
    (new / "dotnet").chmod(0o755)
    monkeypatch.setattr(dotnet, "COMMON", (str(tmp_path / "none"),))
    monkeypatch.setattr(dotnet, "LOCATION_FILES", ())
    found = dotnet.find()
    assert found.runtime == dotnet.Runtime(new, "9.0.1")
    assert found.looked[:2] == (old, new)


def test_a_link_to_the_command_leads_to_its_installation(install, monkeypatch, tmp_path):
    root = install()
    touch(root / "dotnet")
    (root / "dotnet").chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dotnet").symlink_to(root / "dotnet")
    monkeypatch.delenv("DOTNET_ROOT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert dotnet.find().runtime.root == root


def test_compiler_is_the_newest_that_the_runtime_can_run(install):
    sdks = {"8.0.400": "8.0.0", "9.0.100": "9.0.0", "10.0.100": "10.0.0"}
    found = dotnet.find(install(sdks=sdks))
    assert found.compiler.folder.parents[1].name == "9.0.100"


def test_named_root_is_the_only_one_looked_at(install, monkeypatch, tmp_path):
    monkeypatch.setenv("DOTNET_ROOT", str(install()))
    assert dotnet.find(tmp_path / "empty").runtime is None


@pytest.mark.parametrize(
    ("runtimes", "sdks", "words"),
    [
        ((), {}, "install the .NET runtime 8.0 or later"),
        (("9.0.1",), {}, "install the .NET SDK 8.0 or later"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(install, runtimes, sdks, words):
    found = dotnet.find(install(runtimes=runtimes, sdks=sdks))
    said = dotnet_common.missing_runtime(found) or dotnet_common.missing_compiler(found)
    assert words in said


def test_missing_python_packages_are_named(install, monkeypatch):
    monkeypatch.setattr(dotnet, "LOADERS", ("clr_loader_that_is_not_there",))
    said = dotnet_common.missing_runtime(dotnet.find(install()))
    assert "clr_loader_that_is_not_there" in said
    assert "workmanager[dotnet]" in said


def test_assemblies_need_no_compiler(install, tmp_path):
    settings = Settings(state=tmp_path, dotnet_root=install())
    by_name = {engine.media_type: engine for engine in registry.all_engines(settings)}
    assert by_name["text/x-dll"].available
    assert not by_name["text/x-csharp"].available
    assert by_name["text/x-dll"].runtime_version == ".NET 9.0.7"


def test_heap_limit_is_hexadecimal():
    assert dotnet_common.environment(256 << 20)["DOTNET_GCHeapHardLimit"] == hex(192 << 20)
