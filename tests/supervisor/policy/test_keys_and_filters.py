import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.model.spec import Trigger
from workmanager.policy.filters import compile_filters
from workmanager.policy.keys import key_of_attributes, text_of

EVENT = {
    "id": "1",
    "source": "/shop",
    "type": "order.created",
    "subject": "a/b.json",
    "urgent": True,
    "size": 10,
    "raw": b"\x00\x01",
}


def passes(*filters, event=EVENT):
    trigger = Trigger.model_validate({"topic": "t", "filters": list(filters)})
    matches = compile_filters(trigger.filters)
    assert matches is not None
    return matches(event)


@pytest.mark.parametrize(
    ("expression", "key"),
    [
        ("subject", "a/b.json"),
        ("event.subject", "a/b.json"),
        ("urgent", "true"),
        ("size", "10"),
        ("raw", "AAE="),
        ("partitionkey", None),
        ("event.partitionkey", None),
    ],
)
def test_key_is_the_attribute_as_text(expression, key):
    assert key_of_attributes(expression)(EVENT) == key


def test_attribute_named_event_is_no_prefix():
    assert key_of_attributes("event")({"event": "x"}) == "x"


def test_text_of_values_is_canonical():
    assert [text_of(value) for value in ("a", True, False, -5, b"")] == [
        "a",
        "true",
        "false",
        "-5",
        "",
    ]


def test_no_filters_need_no_code():
    assert compile_filters(()) is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"exact": {"type": "order.created"}}, True),
        ({"exact": {"type": "order"}}, False),
        ({"exact": {"type": "order.created", "source": "/shop"}}, True),
        ({"exact": {"type": "order.created", "source": "/other"}}, False),
        ({"exact": {"urgent": "true", "size": "10", "raw": "AAE="}}, True),
        ({"exact": {"missing": "x"}}, False),
        ({"prefix": {"type": "order."}}, True),
        ({"prefix": {"type": "x"}}, False),
        ({"prefix": {"missing": "x"}}, False),
        ({"prefix": {"size": "1"}}, True),
        ({"suffix": {"subject": ".json", "type": "created"}}, True),
        ({"suffix": {"subject": ".xml"}}, False),
        ({"suffix": {"missing": "x"}}, False),
        ({"not": {"exact": {"missing": "x"}}}, True),
        ({"not": {"prefix": {"type": "order."}}}, False),
        ({"all": [{"prefix": {"type": "order."}}, {"suffix": {"type": "created"}}]}, True),
        ({"all": [{"prefix": {"type": "order."}}, {"suffix": {"type": "x"}}]}, False),
        ({"any": [{"exact": {"type": "x"}}, {"exact": {"source": "/shop"}}]}, True),
        ({"any": [{"exact": {"type": "x"}}, {"exact": {"source": "y"}}]}, False),
        ({"not": {"any": [{"not": {"exact": {"type": "order.created"}}}]}}, True),
    ],
)
def test_dialects(raw, expected):
    assert passes(raw) is expected


def test_all_filters_of_a_trigger_must_pass():
    yes, no = {"exact": {"source": "/shop"}}, {"exact": {"source": "/other"}}
    assert passes(yes, yes)
    assert not passes(yes, no)


ATTRIBUTES = st.dictionaries(
    st.sampled_from(["type", "subject", "x"]),
    st.text("ab", max_size=3) | st.integers(0, 12) | st.booleans() | st.binary(max_size=2),
)
PATTERNS = st.dictionaries(
    st.sampled_from(["type", "subject", "x"]),
    st.text("ab1", min_size=1, max_size=2),
    min_size=1,
    max_size=2,
)
FILTERS = st.recursive(
    st.builds(lambda d, p: {d: p}, st.sampled_from(["exact", "prefix", "suffix"]), PATTERNS),
    lambda inner: (
        st.builds(
            lambda d, parts: {d: parts},
            st.sampled_from(["all", "any"]),
            st.lists(inner, min_size=1, max_size=3),
        )
        | st.builds(lambda part: {"not": part}, inner)
    ),
    max_leaves=6,
)


def naive(raw, event):
    """The dialects as the specification words them, without a thought for speed."""
    (dialect, body), *_ = raw.items()
    if dialect == "all":
        return all(naive(part, event) for part in body)
    if dialect == "any":
        return any(naive(part, event) for part in body)
    if dialect == "not":
        return not naive(body, event)
    tests = {"exact": str.__eq__, "prefix": str.startswith, "suffix": str.endswith}
    return all(
        name in event and tests[dialect](text_of(event[name]), text) for name, text in body.items()
    )


@given(FILTERS, ATTRIBUTES)
def test_compiled_filters_decide_as_the_naive_reading(raw, event):
    assert passes(raw, event=event) is naive(raw, event)
