"""The records: every layer is spoken of, and what is required has to be active."""

from __future__ import annotations

import pytest

from workmanager_executor.sandbox import LAYERS, SandboxError, prepare


def records(**fields):
    return {record["layer"]: record for record in prepare(fields).ledger.records()}


@pytest.mark.parametrize("level", ["none", "basic", "full"])
def test_every_layer_has_a_record(level):
    found = records(level=level)
    assert tuple(found) == LAYERS
    assert all(set(record) == {"layer", "state", "detail", "required"} for record in found.values())


def test_level_none_says_so():
    found = records(level="none")
    assert {found[layer]["state"] for layer in ("seccomp", "landlock", "root", "network")} == {
        "off"
    }


def test_memory_without_a_cgroup_is_degraded():
    assert records(level="full", limits={"memoryBytes": 1 << 28})["memory"]["state"] == "degraded"


def test_a_required_layer_that_is_off_is_an_error():
    with pytest.raises(SandboxError, match="required, but off") as caught:
        prepare({"level": "full", "subprocess": "allow", "required": ["subprocess"]})
    assert caught.value.layer == "subprocess"


def test_degraded_is_not_active():
    fields = {"level": "full", "limits": {"memoryBytes": 1 << 28}, "required": ["memory"]}
    with pytest.raises(SandboxError, match="required, but degraded"):
        prepare(fields)


def test_a_required_layer_is_marked():
    found = records(level="full", required=["landlock"])
    assert found["landlock"]["required"]
    assert not found["seccomp"]["required"]


def test_the_hosts_network_is_told():
    assert "metadata" in records(level="full", network="full")["network"]["detail"]
