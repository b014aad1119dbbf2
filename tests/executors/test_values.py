"""JSON encoding and the faults it names."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager_executor import OutputError
from workmanager_executor.values import to_json

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # lone surrogates are no text
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(json_values)
def test_json_values_survive(value):
    assert json.loads(to_json(value)) == value


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def in_itself() -> list:
    value: list = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, float("nan")]}, r"\$\.a\[1\]: nan is not a JSON number"),
        ({"a": float("inf")}, r"\$\.a: inf"),
        ({"a": {"b": {1, 2}}}, r"\$\.a\.b: set is not a JSON value"),
        ([b"x"], r"\$\[0\]: bytes is not a JSON value"),
        ({(1, 2): 1}, r"\$: key of type tuple"),
        ({"a": "\ud800"}, r"\$\.a: text with a lone surrogate"),
        ({"\ud800": 1}, r"\$: key text with a lone surrogate"),
        (object(), r"\$: object is not"),
        (nested(65), "nested deeper than 64"),
        (nested(5000), "nested deeper than 64"),
        (in_itself(), "nested deeper than 64, or in itself"),
    ],
)
def test_fault_is_named_with_its_place(value, message):
    with pytest.raises(OutputError, match=message):
        to_json(value)


def test_deepest_allowed_nesting_passes():
    assert json.loads(to_json(nested(64))) == nested(64)


def test_wide_value_with_many_brackets_is_not_deep():
    assert len(json.loads(to_json([[1]] * 1000))) == 1000


def test_value_that_shares_its_parts_is_not_searched_for_ever():
    value: object = {1, 2}
    for _ in range(60):
        value = [value, value]
    with pytest.raises(OutputError, match="JSON"):
        to_json({"a": value, "b": {3}})


def test_long_path_is_cut():
    with pytest.raises(OutputError) as caught:
        to_json({"k" * 10_000: {1}})
    assert len(str(caught.value)) < 300
