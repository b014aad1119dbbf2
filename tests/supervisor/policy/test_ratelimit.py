from hypothesis import given
from hypothesis import strategies as st

from workmanager.policy.ratelimit import TokenBucket


def test_burst_first_then_the_rate():
    bucket = TokenBucket(10, 1.0, 5)
    assert bucket.take(100, 0.0) == 5
    assert bucket.take(1, 0.05) == 0
    assert bucket.take(9, 0.1) == 1
    assert bucket.take(100, 100.0) == 5


def test_next_is_now_while_there_are_tokens():
    bucket = TokenBucket(1, 60.0, 1)
    assert bucket.next_at(5.0) == 5.0
    assert bucket.take(1, 5.0) == 1
    assert bucket.next_at(5.0) == 65.0
    assert bucket.take(1, 64.9) == 0
    assert bucket.take(1, 65.0) == 1


def test_unused_tokens_go_back_but_never_above_the_burst():
    bucket = TokenBucket(1, 1.0, 3)
    assert bucket.take(3, 0.0) == 3
    bucket.give_back(2)
    assert bucket.take(3, 0.0) == 2
    bucket.give_back(50)
    assert bucket.take(50, 0.0) == 3


def test_clock_that_goes_back_refills_nothing():
    bucket = TokenBucket(10, 1.0, 1)
    assert bucket.take(1, 100.0) == 1
    assert bucket.take(1, 50.0) == 0
    assert bucket.take(1, 100.05) == 0
    assert bucket.take(1, 100.1) == 1


RATES = st.tuples(st.integers(1, 10_000_000), st.floats(0.001, 3e7), st.integers(1, 10_000_000))


@given(RATES, st.floats(0, 1e9))
def test_token_is_granted_at_the_time_foretold(rate, start):
    bucket = TokenBucket(*rate)
    bucket.take(rate[2], start)
    when = bucket.next_at(start)
    assert when >= start
    assert bucket.take(1, when) == 1


@given(
    st.integers(1, 1000),
    st.integers(1, 100),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 200)), max_size=50),
)
def test_never_more_than_burst_plus_rate_times_time(limit, burst, steps):
    bucket = TokenBucket(limit, 1.0, burst)
    now, granted = 0.0, 0
    for gap_s, wanted in steps:
        now += gap_s
        taken = bucket.take(wanted, now)
        assert 0 <= taken <= wanted
        granted += taken
        assert granted <= burst + limit * now + 1e-3
