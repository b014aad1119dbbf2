"""Landlock's rules and structures by ABI."""

from __future__ import annotations

import struct

import pytest

from workmanager_executor.sandbox import landlock, prepare
from workmanager_executor.sandbox.profile import parse


def ruleset_attributes(abi, **fields):
    steps = landlock.steps(parse({"level": "full", **fields}), abi)
    buffer = steps[0].arguments[1]
    return struct.unpack(f"={len(buffer) // 8}Q", buffer.raw)


@pytest.mark.parametrize(
    ("abi", "words", "file_rights"),
    [
        (1, 1, 13),
        (2, 1, 14),
        (3, 1, 15),
        (4, 2, 15),
        (5, 2, 16),
        (6, 3, 16),
        (7, 3, 16),
        (9, 3, 17),
    ],
)
def test_ruleset_is_as_long_as_the_kernel_knows_it(abi, words, file_rights):
    attributes = ruleset_attributes(abi)
    assert len(attributes) == words
    assert attributes[0] == (1 << file_rights) - 1


def test_a_newer_kernel_gets_what_we_know():
    assert ruleset_attributes(42) == ruleset_attributes(9)


def test_tcp_is_handled_where_the_host_network_is_not_wanted():
    assert ruleset_attributes(7, network="none")[1] == 0b11
    assert ruleset_attributes(7, network="ports", ports=[80])[1] == 0b11
    assert ruleset_attributes(7, network="full")[1] == 0
    assert ruleset_attributes(7, network="loopback")[1] == 0


def test_listed_ports_are_rules():
    steps = landlock.steps(parse({"level": "full", "network": "ports", "ports": [80, 443]}), 7)
    rules = [step.arguments[3].raw for step in steps if step.what == "landlock_add_rule"]
    ports = [struct.unpack("=QQ", rule)[1] for rule in rules if len(rule) == 16]
    assert ports == [80, 443]


def test_no_rule_grants_more_than_the_ruleset_handles():
    """The kernel answers EINVAL to that; on old kernels nobody would have tried it."""
    for abi in (1, 2, 3, 4, 5, 6, 7, 9):
        steps = landlock.steps(parse({"level": "full"}), abi)
        handled = struct.unpack_from("=Q", steps[0].arguments[1].raw)[0]
        for step in steps:
            if step.what == "landlock_add_rule":
                assert struct.unpack_from("=Q", step.arguments[3].raw)[0] & ~handled == 0


def test_audit_log_is_not_for_executors_to_fill():
    steps = landlock.steps(parse({"level": "full"}), 7)
    restrict = next(step for step in steps if step.what == "landlock_restrict_self")
    assert restrict.arguments[2].value == 1
    steps = landlock.steps(parse({"level": "full"}), 6)
    restrict = next(step for step in steps if step.what == "landlock_restrict_self")
    assert restrict.arguments[2].value == 0


def test_only_the_scratch_is_writable(tmp_path):
    rules = landlock.rules_for(parse({"level": "basic", "scratchPath": str(tmp_path)}))
    writable = {path for path, rights in rules if rights & 0b10}
    assert writable == {"/dev/null", str(tmp_path)}
    assert all(rights & 1 == 0 for path, rights in rules if path == str(tmp_path))  # no execute


def test_landlock_stands_in_the_records():
    (record,) = (
        r for r in prepare({"level": "basic"}).ledger.records() if r["layer"] == "landlock"
    )
    assert "files" in record["detail"]
