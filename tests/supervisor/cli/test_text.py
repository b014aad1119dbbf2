"""Texts for people."""

from datetime import UTC, datetime

import pytest

from workmanager.cli.loglines import LineFilter, format_line, parse_since
from workmanager.cli.text import (
    format_age,
    format_bytes,
    format_seconds,
    parse_duration_s,
    sanitize,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LINE = {
    "seq": 1,
    "time": "2026-11-21T11:59:30Z",
    "worker": "orders",
    "executor": "e1",
    "task": "1f",
    "stream": "stdout",
    "level": "info",
    "text": "hello\x1b[0m",
}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("1.5", 1.5), ("500ms", 0.5), ("30s", 30), ("1h30m", 5400), ("2d", 172800)],
)
def test_durations_are_read(text, seconds):
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1x", "1h 30m", "1s2", "inf", "nan"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00085, "850us"),
        (0.012, "12ms"),
        (3.21, "3.2s"),
        (59.9, "1m"),
        (310, "5m10s"),
        (3600, "1h"),
        (86400 * 3 + 4 * 3600 + 59, "3d4h"),
    ],
)
def test_seconds_are_written_short(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1536, "1.5Ki"), (24 * 2**20, "24Mi"), (5 * 2**40, "5.0Ti")],
)
def test_sizes_are_written_short(size, text):
    assert format_bytes(size) == text


def test_age_never_is_negative():
    assert format_age("2026-11-21T12:00:05Z", now=NOW) == "0s"
    assert format_age("2026-11-21T09:58:00Z", now=NOW) == "2h2m"
    assert format_age("") == ""


def test_sanitize_leaves_text_of_any_language_alone():
    assert sanitize("Grüße 你好 \t ok") == "Grüße 你好 \t ok"
    assert sanitize("a\x07\n") == "a\\x07\\x0a"


def test_since_is_a_duration_or_a_time():
    assert parse_since("30m", now=NOW) == datetime(2026, 11, 21, 11, 30, tzinfo=UTC)
    assert parse_since("2026-11-21T10:00:00+01:00") == datetime(2026, 11, 21, 9, tzinfo=UTC)
    assert parse_since("2026-11-21").tzinfo is UTC
    with pytest.raises(ValueError, match="neither"):
        parse_since("yesterday")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (LineFilter(), True),
        (LineFilter(workers={"orders"}), True),
        (LineFilter(workers={"other"}), False),
        (LineFilter(task="1f"), True),
        (LineFilter(task="2f"), False),
        (LineFilter(since=datetime(2026, 11, 21, 11, 59, tzinfo=UTC)), True),
        (LineFilter(since=NOW), False),
    ],
)
def test_lines_are_filtered(wanted, expected):
    assert wanted.matches(LINE) is expected


def test_line_shows_worker_only_where_lines_of_several_are_merged():
    assert " orders " not in format_line(LINE, is_merged=False)
    assert format_line(LINE, is_merged=True).split()[1:] == [
        "orders",
        "info",
        "[1f]",
        "hello\\x1b[0m",
    ]


def test_color_is_only_added_on_request():
    assert "\x1b" not in format_line(LINE, is_merged=True)
    assert "\x1b" in format_line(LINE, is_merged=True, is_color=True)
