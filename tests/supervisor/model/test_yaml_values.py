"""YAML in: JSON values out, and bombs refused."""

import json
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workmanager.errors import InvalidArgumentError
from workmanager.model.yaml_values import MAX_DEPTH, MAX_VALUES, load_yaml

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc"))),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_json_is_yaml(value):
    assert load_yaml(json.dumps(value, ensure_ascii=False).encode()) == value


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace"))
)
def test_junk_is_refused_or_read_but_never_breaks(body):
    with suppress(InvalidArgumentError):
        json.dumps(load_yaml(body))


def test_block_style_is_read():
    text = "spec:\n  code: {content: aGk=}\n  topics: [a, b]\n  text: |\n    one\n    two\n"
    assert load_yaml(text.encode()) == {
        "spec": {"code": {"content": "aGk="}, "topics": ["a", "b"], "text": "one\ntwo\n"}
    }


@pytest.mark.parametrize("text", ["yes", "NO", "on", "010", "2026-01-01", "1:30", "0o7", "1_000"])
def test_what_yaml_1_1_would_turn_into_something_else_stays_text(text):
    assert load_yaml(f"a: {text}".encode()) == {"a": text}


def test_scalars_of_the_core_schema():
    text = "[~, null, true, False, -12, 0x1f, 1.5, 1e3, .5, '1', \"true\"]"
    assert load_yaml(text.encode()) == [
        *(None, None, True, False, -12, 31, 1.5, 1000.0, 0.5, "1", "true")
    ]


def test_an_alias_is_followed():
    assert load_yaml(b"a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_an_alias_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(InvalidArgumentError, match="more than"):
        load_yaml("\n".join(lines).encode())


def test_a_merge_bomb_is_only_an_unknown_key():
    assert load_yaml(b"a: &a {x: 1}\nb: {<<: *a}\n")["b"] == {"<<": {"x": 1}}


def test_a_loop_is_refused():
    with pytest.raises(InvalidArgumentError):
        load_yaml(b"a: &a [*a]")


def test_too_many_values_are_refused_before_they_are_built():
    with pytest.raises(InvalidArgumentError, match="more than"):
        load_yaml(b"[" + b"a," * (MAX_VALUES + 10) + b"]")


def test_deep_nesting_is_refused():
    with pytest.raises(InvalidArgumentError):
        load_yaml(b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2))
    with pytest.raises(InvalidArgumentError):
        load_yaml(b"[" * 50_000)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['true']",
        "!!binary aGk=",
        "!!set {a}",
        "!mine x",
        "{1: a}",
        "{true: a}",
        "{[a]: b}",
        "a: 1\na: 2",
        "a: b\n---\nc: d",
        "a: [",
        "\tx",
    ],
)
def test_what_is_no_json_value_is_refused(text):
    with pytest.raises(InvalidArgumentError):
        load_yaml(text.encode())


def test_the_place_of_a_fault_is_named():
    with pytest.raises(InvalidArgumentError) as caught:
        load_yaml(b"a: 1\nb: [1, 2\nc: d\n")
    assert caught.value.faults[0].pointer.startswith("line 3")


def test_the_c_parser_is_used_where_it_is():
    assert yaml.__with_libyaml__
