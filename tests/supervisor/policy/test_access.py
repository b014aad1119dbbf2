"""Rights and keys as pure functions, and that every call of the service has a rule."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workmanager.api import protocol
from workmanager.api.rules import ADMIN, RULES
from workmanager.model.access import Grant, Right
from workmanager.policy.access import (
    RANDOM_BYTES,
    allows,
    allows_anything,
    allows_secret,
    is_secret,
    make_key,
    split_key,
)

TEAM = [
    Grant(workers=["team-a-*"], rights=["READ", "EXECUTE"], secrets=["team-a.*"]),
    Grant(workers=["shared"], rights=["READ"]),
]
CHANGES = ("create", "apply", "patch", "delete", "start", "stop", "pause", "resume", "restart",
           "rollback", "promote", "cancel", "retry", "redrive", "purge", "release", "recover",
           "update")  # fmt: skip


@pytest.mark.parametrize(
    ("right", "worker", "expected"),
    [
        (Right.READ, "team-a-1", True),
        (Right.EXECUTE, "team-a-1", True),
        (Right.UPDATE, "team-a-1", False),
        (Right.READ, "shared", True),
        (Right.EXECUTE, "shared", False),
        (Right.READ, "shared2", False),
        (Right.READ, "xteam-a-1", False),
        (Right.READ, "TEAM-A-1", False),
        (Right.READ, "*", False),
        (Right.READ, "", False),
    ],
)
def test_what_no_grant_names_is_refused(right, worker, expected):
    assert allows(TEAM, right, worker) is expected


def test_all_workers_are_granted_by_their_own_pattern_alone():
    """`?*` and `*-*` match many names, but not those of workers to come."""
    everything = [Grant(workers=["*"], rights=["READ"])]
    nearly = [Grant(workers=["?*", "**"], rights=["READ"])]
    assert allows(everything, Right.READ, "*")
    assert not allows(nearly, Right.READ, "*")
    assert allows(nearly, Right.READ, "any-name")


def test_secrets_go_to_the_workers_of_the_same_grant():
    assert allows_secret(TEAM, "team-a-1", "team-a.db")
    assert not allows_secret(TEAM, "team-a-1", "team-b.db")
    assert not allows_secret(TEAM, "shared", "team-a.db")
    assert allows_anything(TEAM, Right.EXECUTE)
    assert not allows_anything(TEAM, Right.DELETE)
    assert not allows_anything([], Right.READ)


@pytest.mark.parametrize("pattern", ["", "A*", "a/b", "[ab]", "a" * 64, "a b", "*\n"])
def test_a_pattern_is_a_name_with_wildcards(pattern):
    with pytest.raises(ValidationError):
        Grant(workers=[pattern], rights=["READ"])


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES), st.integers(0, 255))
def test_a_key_is_known_again_and_no_other_one(random, flip):
    key = make_key(random)
    key_id, secret = split_key(key.text)
    assert key_id == key.id
    assert is_secret(secret, key.salt, key.digest)
    assert secret.encode() not in key.digest
    other = make_key(bytes([random[0], *random[1:10], random[10] ^ (flip or 1), *random[11:]]))
    assert not is_secret(split_key(other.text)[1], key.salt, key.digest)


@pytest.mark.parametrize(
    "text",
    ["", "wmk_", "wmk_0123456789ab_", "wmk_0123456789ab_" + "x" * 42, "token", "wmk_XYZ_abc",
     make_key(bytes(RANDOM_BYTES)).text + "\n", " " + make_key(bytes(RANDOM_BYTES)).text],
)  # fmt: skip
def test_what_is_no_key_is_none(text):
    assert split_key(text) is None


def test_every_call_has_a_rule():
    """One that is forgotten is refused to all but administrators, which is safe, but a bug."""
    calls = {
        name for name, _ in inspect.getmembers(protocol.Service, inspect.isfunction)
        if not name.startswith("_")
    }  # fmt: skip
    assert calls == RULES.keys()


def test_every_call_that_changes_something_is_audited():
    for name, rule in RULES.items():
        assert rule.is_audited is (name.partition("_")[0] in CHANGES), name
    assert ADMIN.is_audited
