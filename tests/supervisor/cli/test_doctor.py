"""The doctor, on the host that the tests run on."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from workmanager.cli.root import root
from workmanager_executor.sandbox import LAYERS, LEVELS

pytestmark = pytest.mark.slow  # each probe takes some 0.2 s


def run(*words, tmp_path):
    return CliRunner().invoke(root, ["doctor", "--set", f"state={tmp_path}", *words])


def test_sandbox_has_a_record_per_layer_and_level(tmp_path):
    result = run("--sandbox", "-o", "json", tmp_path=tmp_path)
    found = json.loads(result.stdout)["sandbox"]
    assert [record["layer"] for record in found["layers"]] == list(LAYERS)
    assert [level["level"] for level in found["levels"]] == list(reversed(LEVELS))
    assert found["level"] == found["highest"]
    for record in found["layers"]:
        assert {"layer", "state", "detail", "required"} <= record.keys()
        is_missing = record["state"] in ("degraded", "unavailable")
        assert bool(record["remedy"]) == is_missing
    for level in found["levels"]:
        assert level["passes"] or (level["layer"] and level["detail"] and level["remedy"])


def test_missing_required_layer_ends_with_78_and_says_how_to_get_it(tmp_path):
    result = run("--sandbox", "--set", "sandbox_require=memory", tmp_path=tmp_path)
    if "memory  active" in result.stdout:
        pytest.skip("memory is bounded by a cgroup here")
    assert result.exit_code == 78
    assert "sandbox_require asks for layer memory" in result.stdout
    assert "cgroup" in result.stdout


def test_whole_host_is_looked_at(tmp_path):
    result = run(tmp_path=tmp_path)
    assert result.exit_code == 0, result.output
    for name in ("python", "state", "disk", "engine text/x-python", "sandbox"):
        assert f"{name}: ok" in result.stdout


def test_unknown_layer_is_a_usage_error(tmp_path):
    result = run("--set", "sandbox_require=firewall", tmp_path=tmp_path)
    assert result.exit_code == 2
    assert "'firewall' is no level and no layer" in result.stderr
