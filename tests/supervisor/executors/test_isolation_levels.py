"""Which level executors get, what is refused, and what the refusal says."""

from __future__ import annotations

import pytest

from workmanager.errors import IsolationError, Reason
from workmanager.executors.isolation import levels
from workmanager.executors.isolation.host import is_mapped
from workmanager.executors.isolation.outlook import LevelOutlook, Outlook, probe, read
from workmanager.executors.isolation.remedies import remedy
from workmanager.model.spec import WorkerSpec
from workmanager_executor.sandbox import LAYERS, LEVELS

ALL = {level: LevelOutlook(passes=True) for level in LEVELS[1:]}
NO_USER_NAMESPACES = LevelOutlook(False, "namespaces", "[Errno 1] unshare: not permitted")
HOST = Outlook("x86_64", "6.18", 7, {**ALL, "uid": LevelOutlook(False, "uid", "not root")})
CONTAINER = Outlook("x86_64", "5.15", 1, {**HOST.levels, "full": NO_USER_NAMESPACES})
BARE = Outlook("x86_64", "4.18", 0, dict.fromkeys(LEVELS[1:], NO_USER_NAMESPACES))


def spec_of(**isolation):
    return WorkerSpec.model_validate({"isolation": isolation})


def record(layer, state, detail=""):
    return {"layer": layer, "state": state, "detail": detail, "required": False}


@pytest.mark.parametrize(
    ("outlook", "level"),
    [(HOST, "full"), (CONTAINER, "basic"), (BARE, "none"), (Outlook(), "none")],
)
def test_auto_is_the_strongest_that_passes(outlook, level):
    assert outlook.highest == level
    assert levels.choose(outlook, "auto") == level


def test_named_level_is_not_weakened():
    assert levels.choose(CONTAINER, "none") == "none"
    with pytest.raises(IsolationError, match="layer namespaces cannot be had") as caught:
        levels.choose(CONTAINER, "full")
    assert caught.value.layer == "namespaces"
    assert remedy("namespaces") in str(caught.value)


def test_required_level_means_at_least():
    levels.check_required(HOST, "full", [], ["basic"])
    with pytest.raises(IsolationError, match="layer uid cannot be had"):
        levels.check_required(HOST, "full", [], ["uid"])
    with pytest.raises(IsolationError, match="sandbox_level is basic"):
        levels.check_required(HOST, "basic", [], ["full"])


@pytest.mark.parametrize("state", ["degraded", "unavailable", "off"])
def test_required_layer_must_be_active(state):
    records = [record("landlock", "active"), record("memory", state, "RLIMIT_AS")]
    levels.check_required(HOST, "full", records, ["landlock", "full"])
    with pytest.raises(IsolationError, match=rf"memory, which at level full is {state}") as caught:
        levels.check_required(HOST, "full", records, ["landlock", "memory"])
    assert caught.value.layer == "memory"
    assert remedy("memory") in str(caught.value)


def test_worker_may_ask_for_more_or_less():
    def of(level, outlook=HOST, floor="none"):
        return levels.level_for(spec_of(level=level), outlook, default="basic", floor=floor)

    assert of("auto") == "basic"
    assert of("full") == "full"
    assert of("none") == "none"
    with pytest.raises(IsolationError, match="less than basic, which this service requires"):
        of("none", floor="basic")
    with pytest.raises(IsolationError, match="layer uid cannot be had") as caught:
        of("uid")
    assert caught.value.reason is Reason.ENGINE_UNAVAILABLE
    assert caught.value.faults[0].pointer == "spec.isolation.level"


def test_wishes_beside_the_level_are_refused_where_they_cannot_be_met():
    def check(isolation, outlook=HOST, level="full", required=()):
        levels.check_wishes(spec_of(**isolation), outlook, level, required)

    check({"network": "loopback"})
    with pytest.raises(IsolationError, match="network of its own"):
        check({"network": "loopback"}, level="basic")
    check({"network": "ports", "ports": [443]})
    with pytest.raises(IsolationError, match="Landlock ABI 4"):
        check({"network": "ports", "ports": [443]}, outlook=CONTAINER, level="basic")
    check({"network": "full", "subprocess": "allow"})
    with pytest.raises(IsolationError, match=r"spec\.isolation\.network"):
        check({"network": "full"}, required=("network",))
    with pytest.raises(IsolationError, match=r"spec\.isolation\.subprocess"):
        check({"subprocess": "allow"}, required=("full", "subprocess"))


def test_uids_must_be_mapped():
    whole = "         0          0 4294967295\n"
    rootless = "         0       1000          1\n         1     100000      65536\n"
    assert is_mapped(whole, 1_900_000_000, 65_536)
    assert not is_mapped(rootless, 1_900_000_000, 65_536)
    assert is_mapped(rootless, 1, 65_536)
    assert not is_mapped(rootless, 2, 65_536)


@pytest.mark.slow
def test_probe_says_how_far_each_level_gets():
    found = probe({"limits": {"memoryBytes": 2**28}})
    assert set(found.levels) == set(LEVELS[1:])
    for level in found.levels.values():
        if level.passes:
            assert [r["layer"] for r in level.records] == list(LAYERS)
        else:
            assert level.layer in (*LAYERS, "profile")
            assert level.detail
    assert found.passes(found.highest)
    assert found.kernel


def test_probe_that_cannot_run_leaves_no_level(monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    found = probe({})
    assert found.highest == "none"
    assert "the probe could not be run" in found.levels["basic"].detail


def test_answer_of_another_form_is_refused():
    with pytest.raises(KeyError):
        read({"levels": {"uid": {}}})
