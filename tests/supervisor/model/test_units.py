import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.model.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("1s", 1),
        ("5m", 300),
        ("1h", 3600),
        ("14d", 1_209_600),
        ("2w", 1_209_600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (" 5 ", 5),
        ("2.5", 2.5),
        (0, 0),
        (7, 7),
        (0.1, 0.1),
    ],
)
def test_duration_is_read_in_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        "-1s",
        "1 s",
        "1S",
        "s",
        "1h-",
        "٣s",
        "9" * 400,
        -1,
        True,
        None,
        [],
        math.nan,
        math.inf,
        10**400,
    ],
)
def test_no_duration_is_refused_with_a_sentence(bad):
    with pytest.raises(ValueError, match=r"^must be "):
        parse_duration(bad)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256Mi", 256 * 2**20),
        ("64MiB", 64 * 2**20),
        ("64mib", 64 * 2**20),
        ("10k", 10_000),
        ("10KB", 10_000),
        ("1.5Ki", 1536),
        ("2 Gi", 2 * 2**30),
        ("7B", 7),
        ("7", 7),
        (7, 7),
        (7.0, 7),
        ("0", 0),
    ],
)
def test_size_is_read_in_bytes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "bad", ["", "Mi", "1.0001k", "-1", "1e3", "1 2", 1.5, -1, True, None, {}, 2**63, "9" * 60]
)
def test_no_size_is_refused(bad):
    with pytest.raises(ValueError, match=r"must be|whole number of bytes"):
        parse_size(bad)


@given(st.text() | st.floats() | st.integers())
def test_any_value_gives_a_number_or_a_sentence(value):
    for parse in (parse_duration, parse_size):
        with contextlib.suppress(ValueError):
            assert 0 <= parse(value) < math.inf
