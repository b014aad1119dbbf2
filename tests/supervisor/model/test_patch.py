import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.model.patch import is_deeper_than, merge_patch

OBJECTS = st.recursive(
    st.none() | st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
).filter(lambda value: isinstance(value, dict))


@pytest.mark.parametrize(
    ("base", "patch", "merged"),
    [  # RFC 7396, appendix A, those with objects on both sides
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_follows_the_rfc(base, patch, merged):
    assert merge_patch(base, patch) == merged


@given(OBJECTS, OBJECTS)
def test_merge_changes_neither_argument_and_is_idempotent(base, patch):
    before = copy.deepcopy((base, patch))
    merged = merge_patch(base, patch)
    assert (base, patch) == before
    assert merge_patch(merged, patch) == merged


def test_depth_counts_objects_and_lists():
    assert not is_deeper_than(1, 0)
    assert not is_deeper_than({}, 0)
    assert is_deeper_than([1], 0)
    assert not is_deeper_than([[1]], 2)
    assert is_deeper_than([[1]], 1)
