import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.policy.admission import Admission
from workmanager.policy.window import FIRST_WINDOW, MAX_WINDOW, CreditWindow, window_for


@pytest.mark.parametrize(
    ("handler_s", "window"),
    [(0, 512), (1e-6, 512), (20e-6, 101), (100e-6, 21), (1e-3, 3), (10, 2), (float("inf"), 1)],
)
def test_window_follows_the_handlers_time(handler_s, window):
    assert window_for(handler_s) == window


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_slower_handlers_never_get_a_wider_window(one, two):
    assert window_for(max(one, two)) <= window_for(min(one, two)) <= MAX_WINDOW


def test_window_starts_narrow_and_adapts():
    window = CreditWindow()
    assert window.size == FIRST_WINDOW
    window.observe(0.0)
    assert window.size == MAX_WINDOW
    for _ in range(20):
        window.observe(0.1)
    assert window.size == 2


def test_admission_closes_at_the_limit_and_opens_at_seventy_percent():
    gate = Admission(10, 1000)
    assert gate.update(9, 0)
    assert not gate.update(10, 0)
    assert not gate.update(8, 0)
    assert gate.update(7, 0)
    assert not gate.update(0, 1000)
    assert not gate.update(0, 701)
    assert gate.update(0, 700)


def test_admission_needs_both_counts_to_be_low():
    gate = Admission(10, 1000)
    assert not gate.update(10, 1000)
    assert not gate.update(0, 900)
    assert not gate.update(9, 0)
    assert gate.update(0, 0)


@given(st.integers(1, 5), st.integers(1, 5))
def test_any_gate_closes_when_full_and_opens_when_empty(max_count, max_bytes):
    gate = Admission(max_count, max_bytes)
    assert not gate.update(max_count, 0)
    assert gate.update(0, 0)
    assert not gate.update(0, max_bytes)
    assert gate.update(0, 0)
