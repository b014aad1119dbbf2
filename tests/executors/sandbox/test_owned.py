"""What is an executor's own is put into a chain that is shared by all of the same profile."""

from __future__ import annotations

import os

import pytest

from workmanager_executor.sandbox.owned import ANY_SCRATCH, ANY_UID
from workmanager_executor.sandbox.prepared import prepare

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="level uid needs root")


def values(prepared):
    steps = (*prepared.shed_steps, *prepared.lock_steps)
    return [repr((step.what, step.arguments, step.expected)) for step in steps]


def details(prepared):
    return " ".join(str(record["detail"]) for record in prepared.ledger.records())


@needs_root
def test_executors_that_differ_by_uid_share_one_chain():
    one, other = (prepare({"level": "uid", "uid": uid}) for uid in (7, 1_900_000_123))
    assert one.filter_program is other.filter_program
    assert (one.identity, other.identity) == ((7, 7), (1_900_000_123, 1_900_000_123))
    text = " ".join(values(other))
    assert "uid=1900000123,gid=1900000123" in text
    assert "worker:x:1900000123:1900000123:" in text
    assert "uid 1900000123" in details(other)
    assert str(ANY_UID) not in text + details(other) + " ".join(values(one))
    written = [s for s in one.shed_steps if s.what == "write /proc/etc/passwd"]
    assert [step.expected for step in written] == [len(step.arguments[1]) for step in written]


@needs_root
def test_group_of_its_own_is_no_shared_chain():
    assert prepare({"level": "uid", "uid": 7, "gid": 8}).identity == (7, 8)


def test_scratch_of_one_executor_is_not_that_of_another(tmp_path):
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        found.append(prepare({"level": "basic", "scratchPath": str(tmp_path / name)}))
    one, other = found
    assert one.filter_program is other.filter_program
    assert (one.scratch, other.scratch) == (str(tmp_path / "a"), str(tmp_path / "b"))
    assert [a == b for a, b in zip(values(one), values(other), strict=True)].count(False) == 2
    assert ANY_SCRATCH not in " ".join(values(one)) + details(one)
    assert str(tmp_path / "a") in details(one)
