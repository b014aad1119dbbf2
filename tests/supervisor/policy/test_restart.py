import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.model.spec import Restart
from workmanager.policy.restart import (
    Action,
    End,
    RestartBudget,
    RestartState,
    after_end,
    backoff_s,
    hold_out_s,
)


def run(ends, **fields):
    """Feed *ends* one after the other; return the decisions."""
    policy = Restart.model_validate(fields)
    state, found = RestartState(), []
    for end in ends:
        state, decision = after_end(state, end, policy, random.Random(0))
        found.append(decision)
    return found


def quick(count, *, every_s=1.0, **facts):
    return [End(at=index * every_s, uptime_s=0.5, **facts) for index in range(count)]


def test_backoff_doubles_to_its_cap_within_the_jitter():
    policy, rng = Restart(), random.Random(0)
    for failures, base_s in enumerate([1, 2, 4, 8, 16, 32, 60, 60], start=1):
        for _ in range(50):
            assert 0.75 * base_s <= backoff_s(policy, failures, rng) <= 1.25 * base_s


def test_start_limit_fails_the_worker():
    actions = [decision.action for decision in run(quick(5))]
    assert actions == [Action.RESTART] * 4 + [Action.FAIL]
    assert "startLimitBurst" in run(quick(5))[-1].reason


def test_ends_outside_the_window_do_not_count():
    found = run(quick(50, every_s=61), startLimitInterval="4m")
    assert {decision.action for decision in found} == {Action.RESTART}


def test_burst_zero_never_gives_up():
    found = run(quick(500), startLimitBurst=0)
    assert {decision.action for decision in found} == {Action.RESTART}


def test_stable_minute_starts_the_backoff_anew():
    ends = [*quick(3), End(at=100.0, uptime_s=60.0)]
    found = run(ends)
    assert found[2].delay_s >= 3
    assert found[3].delay_s <= 1.25


def test_ends_that_an_event_is_charged_for_count_half():
    ends = [End(at=float(index), uptime_s=5.0, is_charged=True) for index in range(10)]
    actions = [decision.action for decision in run(ends)]
    assert actions == [Action.RESTART] * 9 + [Action.FAIL]


def test_failed_start_counts_in_full_whatever_is_charged():
    assert run(quick(5, is_charged=True))[-1].action is Action.FAIL


def test_policies():
    assert run(quick(1), policy="never")[0].action is Action.FAIL
    assert run(quick(1, is_clean=True), policy="never")[0].action is Action.FAIL
    assert run(quick(1, is_clean=True), policy="on-failure")[0].action is Action.REST
    assert run(quick(1), policy="on-failure")[0].action is Action.RESTART
    assert run(quick(1, is_clean=True))[0].action is Action.RESTART


@given(
    st.lists(
        st.tuples(st.floats(0, 1e5), st.floats(0, 1e4), st.booleans(), st.booleans()), max_size=60
    ),
    st.integers(0, 8),
)
def test_what_is_remembered_is_bounded_and_delays_are_sane(steps, burst):
    policy = Restart(start_limit_burst=burst)
    state, now = RestartState(), 0.0
    for gap_s, uptime_s, is_clean, is_charged in steps:
        now += gap_s
        end = End(now, uptime_s, is_clean, is_charged)
        state, decision = after_end(state, end, policy, random.Random(0))
        assert len(state.ends) <= 2 * burst
        assert 0 <= decision.delay_s <= policy.backoff_max_s * 1.25
        recent = [at for at, _ in state.ends if now - at < policy.start_limit_interval_s]
        if decision.action is Action.FAIL:
            assert len(recent) >= burst > 0


def test_budget_bounds_restarts_of_a_host_within_a_second():
    budget = RestartBudget(3, 100)
    assert [budget.take(now, is_first=False) for now in (0.0, 0.1, 0.2)] == [0, 0, 0]
    assert budget.take(0.4, is_first=False) == pytest.approx(0.6)
    assert budget.take(0.9, is_first=True) == pytest.approx(0.1)
    assert budget.take(1.0, is_first=False) == 0
    assert budget.take(1.05, is_first=False) == pytest.approx(0.05)


def test_budget_of_a_minute_is_for_loops_only():
    budget = RestartBudget(100, 2)
    assert [budget.take(now, is_first=False) for now in (0.0, 1.0)] == [0, 0]
    assert budget.take(10.0, is_first=False) == pytest.approx(50)
    assert budget.take(10.0, is_first=True) == 0
    assert budget.take(60.0, is_first=False) == 0
    assert budget.take(60.5, is_first=False) == pytest.approx(0.5)


ROUNDING = 1e-9  # of sums of floats below 1,000


@given(st.lists(st.floats(0, 300), min_size=1, max_size=200))
def test_budget_is_never_exceeded_in_any_window(times):
    budget = RestartBudget(5, 20)
    granted = [now for now in sorted(times) if budget.take(now, is_first=False) <= 0]
    for now in granted:
        assert sum(now - 1 < other - ROUNDING <= now for other in granted) <= 5
        assert sum(now - 60 < other - ROUNDING <= now for other in granted) <= 20


def test_lone_executor_holds_out_a_minute_at_most():
    assert hold_out_s(Restart()) == 60
    assert hold_out_s(Restart(start_limit_interval_s=5)) == 5
