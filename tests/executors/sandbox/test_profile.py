"""The profile: what is refused before anything is applied."""

from __future__ import annotations

import pytest

from workmanager_executor.sandbox import LEVELS, SandboxError, prepare
from workmanager_executor.sandbox.profile import own_runtime_paths, parse


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"levle": "full"}, "unknown fields: levle"),
        ({"level": "fortress"}, "level: 'fortress' is none of"),
        ({"network": "wifi"}, "network"),
        ({"network": "loopback", "level": "basic"}, "own network"),
        ({"ports": [80]}, "only of use"),
        ({"network": "ports", "ports": [0]}, "1..65535"),
        ({"network": "ports", "ports": ["80"]}, "not a list of int"),
        ({"readPaths": ["relative"]}, "not absolute"),
        ({"readPaths": ["/"]}, "void"),
        ({"readPaths": ["/usr/../"]}, "void"),
        ({"readPaths": ["/proc/1"]}, "void"),
        ({"scratchPath": "/sys/x"}, "void"),
        ({"readPaths": ["/x\0y"]}, "not absolute"),
        ({"scratchBytes": 0}, "positive"),
        ({"scratchBytes": True}, "not of type int"),
        ({"scratchBytes": "64m"}, "not of type int"),
        ({"level": "uid"}, "unprivileged uid"),
        ({"level": "uid", "uid": 0}, "unprivileged uid"),
        ({"limits": {"memory": 1}}, "limits: unknown memory"),
        ({"limits": {"files": -1}}, "limits.files"),
        ({"limits": {"files": True}}, "limits.files"),
        ({"limits": [1]}, "limits: not a map"),
        ({"required": ["landlok"]}, "unknown layers: landlok"),
        ({"subprocess": True}, "not of type str"),
    ],
)
def test_faults_are_told(fields, message):
    with pytest.raises(SandboxError, match=message.replace("[", r"\[")):
        prepare({"level": "full", **fields})


def test_defaults_are_the_strict_ones():
    profile = parse({})
    assert (profile.level, profile.network, profile.subprocess_allowed) == ("full", "none", False)


def test_profiles_can_be_compared():
    assert parse({"limits": {"files": 1, "processes": 2}}) == parse(
        {"limits": {"processes": 2, "files": 1}}
    )
    assert hash(parse({"readPaths": ["/usr"]}))


def test_levels_are_ordered():
    assert LEVELS == ("none", "basic", "full", "uid")


def test_runtime_paths_hold_the_interpreter_and_the_package():
    paths = own_runtime_paths()
    assert any(__import__("os").__file__.startswith(path) for path in paths)
    assert any(__import__("workmanager_executor").__file__.startswith(path) for path in paths)
