"""The doctor's look at .NET: none, one that is whole, one that cannot be started."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2]))

import dotnet_fixture
from workmanager.cli.root import root

pytestmark = pytest.mark.slow


def run(tmp_path, *words, **settings):
    pairs = {"state": tmp_path, **settings}.items()
    options = [word for name, value in pairs for word in ("--set", f"{name}={value}")]
    return CliRunner().invoke(root, ["doctor", "--dotnet", *options, *words])


def test_without_dotnet_it_says_where_it_looked_and_what_to_install(tmp_path):
    result = run(tmp_path, dotnet_root=tmp_path / "nowhere")
    assert result.exit_code == 1
    first, second, *_ = result.stdout.splitlines()
    assert first.startswith("engine text/x-csharp: not here: ")
    assert "install the .NET SDK 8.0 or later" in first
    assert "install the .NET runtime 8.0 or later" in second
    assert str(tmp_path / "nowhere") in result.stdout.split("LOOKED FOR")[1]


def test_what_is_found_is_tried(tmp_path):
    pytest.importorskip("pythonnet", reason="pythonnet is not installed")
    try:
        found = dotnet_fixture.find()
    except dotnet_fixture.UnavailableError as error:
        pytest.skip(f"no .NET: {error}")
    result = run(tmp_path, "-o", "json", dotnet_root=found.root, roslyn=found.roslyn)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert [engine["available"] for engine in said["engines"]] == [True, True]
    assert said["runtime"]["root"] == str(found.root)
    assert said["compiler"]["folder"] == str(found.roslyn)
    assert [(trial["name"], trial["ok"]) for trial in said["trials"]] == [
        ("runtime", True),
        ("compiler", True),
    ]
    assert said["looked"][0]["found"] == f".NET {said['runtime']['version']}"
    assert all(package["version"] for package in said["packages"])


def test_what_cannot_be_started_is_told_in_words(tmp_path):
    pytest.importorskip("clr_loader", reason="clr_loader is not installed")
    runtime = tmp_path / "dotnet" / "shared" / "Microsoft.NETCore.App" / "9.0.7"
    host = tmp_path / "dotnet" / "host" / "fxr" / "9.0.7"
    for path in (runtime / "libcoreclr.so", host / "libhostfxr.so"):
        path.parent.mkdir(parents=True)
        path.write_text("no library")
    result = run(tmp_path, dotnet_root=tmp_path / "dotnet")
    assert result.exit_code == 1
    assert "runtime tried: failed: " in result.stdout
    assert str(tmp_path / "dotnet") in result.stdout.split("runtime tried: failed: ")[1]


def test_two_questions_at_once_are_a_usage_error(tmp_path):
    assert run(tmp_path, "--sandbox").exit_code == 2
