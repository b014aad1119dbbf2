"""Which tasks are traced: by the standard variables, the parent's decision, the task's number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.policy.sampling import (
    LOW_BITS,
    decide,
    format_traceparent,
    parse_traceparent,
    sampler_of,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
IDS = (int(TRACE, 16), int(SPAN, 16))


def sampler(name="", arg=""):
    return sampler_of({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": arg})


@pytest.mark.parametrize(
    ("name", "arg", "root", "sampled_parent", "other_parent"),
    [
        ("", "", True, True, False),
        ("always_on", "", True, True, True),
        ("always_off", "", False, False, False),
        ("parentbased_always_on", "", True, True, False),
        ("parentbased_always_off", "", False, True, False),
        ("parentbased_traceidratio", "0", False, True, False),
        ("traceidratio", "0", False, False, False),
        ("traceidratio", "1", True, True, True),
        ("traceidratio", "many", True, True, True),
        ("traceidratio", "2", True, True, True),
        ("jaeger_remote", "", True, True, False),
        (" PARENTBASED_ALWAYS_OFF ", "", False, True, False),
    ],
)
def test_the_standard_samplers(name, arg, root, sampled_parent, other_parent):
    chosen = sampler(name, arg)
    assert (decide(chosen, None, 7) is not None) is root
    assert (decide(chosen, SAMPLED, 7) == IDS) is sampled_parent
    assert (decide(chosen, NOT_SAMPLED, 7) == IDS) is other_parent


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.5])
def test_a_ratio_of_consecutive_tasks_is_traced(ratio):
    chosen = sampler("traceidratio", str(ratio))
    numbers = [(segment << 16) + index for segment in range(1, 200) for index in range(50)]
    traced = [decide(chosen, None, number) for number in numbers]
    found = [ids for ids in traced if ids is not None]
    assert len(found) / len(numbers) == pytest.approx(ratio, rel=0.1)
    assert all(ids[0] & LOW_BITS < chosen.bound for ids in found), "others would decide the same"
    assert len({ids[0] for ids in found}) == len(found)


@given(st.integers(1, 2**63 - 1))
def test_a_task_is_in_the_same_trace_at_each_attempt(number):
    chosen = sampler()
    first = decide(chosen, None, number)
    assert first == decide(chosen, None, number)
    assert parse_traceparent(format_traceparent(first[0], 1)) == (first[0], 1, 1)


@pytest.mark.parametrize(
    "text",
    [
        "", "00", SAMPLED.upper(), f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"{SAMPLED}-more", f" {SAMPLED}", f"{SAMPLED}\n", None, 7,
        b"x",
    ],
)  # fmt: skip
def test_what_is_no_traceparent_is_none(text):
    assert parse_traceparent(text) is None
    assert decide(sampler(), text, 7)[1] == 0, "it begins a trace of its own"


def test_versions_to_come_may_say_more():
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-01-more") == (*IDS, 1)
