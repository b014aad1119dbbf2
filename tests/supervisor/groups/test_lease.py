"""The arithmetic of leases: whatever the numbers, two hosts never run or write at once."""

from hypothesis import given
from hypothesis import strategies as st

from workmanager.groups.lease import DRIFT, MARGIN_S, Lease, margin_s, resource_of, ttl_for

seconds = st.floats(0.001, 10_000, allow_nan=False)
instants = st.floats(0, 1e7, allow_nan=False)


def lease(asked_at, ttl_s, hold_s):
    return Lease("wm.group.g", "", "me", 1, asked_at, ttl_s, hold_s)


@given(instants, seconds, seconds, st.floats(0, 1, exclude_max=True))
def test_an_attempt_started_within_the_turn_ends_before_the_lock_can_move(at, hold_s, run_s, part):
    held = lease(at, ttl_for(hold_s, run_s), hold_s)
    began = at + part * hold_s
    if held.may_start(began, run_s):
        # The store began to count after `at`, on a clock that runs faster by up to DRIFT.
        expiry = at + held.ttl_s / (1 + DRIFT)
        assert began + run_s <= held.safe_until < expiry


@given(instants, seconds, seconds)
def test_a_turn_lasts_as_long_as_was_asked_for(at, hold_s, run_s):
    held = lease(at, ttl_for(hold_s, run_s), hold_s)
    last = at + hold_s * 0.999
    assert held.may_start(last, run_s)
    assert not held.may_start(at + hold_s, 0)


@given(instants, seconds, seconds, seconds)
def test_nothing_starts_that_could_not_be_killed_in_time(at, hold_s, run_s, longer_s):
    held = lease(at, ttl_for(hold_s, run_s), hold_s)
    if at + longer_s > held.safe_until:
        assert not held.may_start(at, longer_s)


@given(st.integers(1, 10**6))
def test_the_margin_is_before_the_expiry_and_grows_with_the_time_to_live(ttl_s):
    assert MARGIN_S < margin_s(ttl_s) < margin_s(ttl_s + 1)


@given(st.text(min_size=1), st.text(min_size=1), st.integers(0, 999))
def test_locks_of_different_keys_and_slots_have_different_names(one, other, slot):
    name = resource_of("g", one, slot)
    assert "||" not in name
    assert name.isascii()
    assert (name == resource_of("g", other, slot)) == (one == other)
    assert name != resource_of("g", one, slot + 1)
    assert resource_of("g", "", 0) == "wm.group.g"
