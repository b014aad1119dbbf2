import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.model.spec import Retry
from workmanager.model.states import TaskStatus
from workmanager.policy.retry import Failed, GiveUp, TryAgain, decide, next_delay_s

RETRIES = st.builds(
    lambda backoff, bounds, coefficient, jitter, attempts: Retry(
        backoff=backoff,
        initial_interval_s=min(bounds),
        maximum_interval_s=max(bounds),
        backoff_coefficient=coefficient,
        jitter=jitter,
        maximum_attempts=attempts,
    ),
    st.sampled_from(["exponential", "fixed", "linear"]),
    st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
    st.floats(1, 100),
    st.sampled_from(["full", "none"]),
    st.integers(1, 1000),
)


def delays(**fields):
    retry = Retry.model_validate({"jitter": "none", **fields})
    return [next_delay_s(retry, attempt, random.Random(0)) for attempt in range(1, 6)]


def test_policies_without_jitter():
    assert delays() == [1, 2, 4, 8, 16]
    assert delays(maximumInterval="5s") == [1, 2, 4, 5, 5]
    assert delays(backoff="linear") == [1, 2, 3, 4, 5]
    assert delays(backoff="fixed") == [1] * 5
    assert delays(initialInterval=0) == [0] * 5


def test_full_jitter_spreads_over_the_whole_delay():
    rng = random.Random(1)
    found = [next_delay_s(Retry(), 3, rng) for _ in range(2000)]
    assert 0 <= min(found) < 0.05
    assert 3.95 < max(found) <= 4
    assert sum(found) / 2000 == pytest.approx(2, abs=0.1)


def test_what_the_handler_asked_for_is_kept():
    assert next_delay_s(Retry(), 1, random.Random(0), asked_after_s=0) == 0
    assert next_delay_s(Retry(), 1, random.Random(0), asked_after_s=900.5) == 900.5


@pytest.mark.parametrize("asked", [math.nan, math.inf, -1.0])
def test_nonsense_from_the_handler_falls_back_to_the_policy(asked):
    retry = Retry(jitter="none")
    assert next_delay_s(retry, 2, random.Random(0), asked_after_s=asked) == 2


@given(RETRIES, st.integers(1, 10_000), st.none() | st.floats())
def test_any_delay_is_finite_and_within_bounds(retry, attempt, asked):
    delay_s = next_delay_s(retry, attempt, random.Random(0), asked_after_s=asked)
    assert math.isfinite(delay_s)
    assert delay_s >= 0
    if asked is None:
        assert delay_s <= retry.maximum_interval_s


@given(RETRIES, st.integers(1, 1000))
def test_delays_without_jitter_never_shrink(retry, attempt):
    plain = retry.model_copy(update={"jitter": "none"})
    rng = random.Random(0)
    assert next_delay_s(plain, attempt, rng) <= next_delay_s(plain, attempt + 1, rng)


def verdict(how, *, attempt=1, error_type="ValueError", **fields):
    retry = Retry.model_validate(fields)
    return decide(retry, how, error_type=error_type, attempt=attempt, rng=random.Random(0))


@pytest.mark.parametrize("how", [Failed.ERROR, Failed.ASKED, Failed.TIMED_OUT])
def test_attempts_left_mean_another_one(how):
    assert isinstance(verdict(how, attempt=4), TryAgain)


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        (Failed.ERROR, TaskStatus.FAILED, "ATTEMPTS_EXHAUSTED"),
        (Failed.ASKED, TaskStatus.FAILED, "ATTEMPTS_EXHAUSTED"),
        (Failed.TIMED_OUT, TaskStatus.TIMED_OUT, "TIMED_OUT"),
        (Failed.FINAL, TaskStatus.FAILED_WITH_TERMINAL_ERROR, "NON_RETRYABLE"),
    ],
)
def test_last_attempt_ends_the_task(how, status, reason):
    assert verdict(how, attempt=5) == GiveUp(status, reason)


@pytest.mark.parametrize("error_type", ["ValueError", "pkg.mod.ValueError"])
def test_named_error_types_end_the_task_at_once(error_type):
    found = verdict(Failed.ERROR, error_type=error_type, nonRetryableErrorTypes=["ValueError"])
    assert found == GiveUp(TaskStatus.FAILED_WITH_TERMINAL_ERROR, "NON_RETRYABLE")
    other = verdict(Failed.ERROR, error_type="KeyError", nonRetryableErrorTypes=["ValueError"])
    assert isinstance(other, TryAgain)
