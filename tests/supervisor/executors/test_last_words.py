"""What is kept of stderr for the report of a crash."""

from __future__ import annotations

from workmanager.executors.last_words import LAST_LINES, MAX_LINES, LastWords


def words(*lines):
    said = LastWords()
    for line in lines:
        said.add(line)
    return said


def test_a_report_begins_with_its_own_words():
    said = words("of the worker", "Unhandled exception. System.Exception: no", "   at W.Crash()")
    assert said.opening == "Unhandled exception. System.Exception: no"
    assert said.text.splitlines() == [said.opening, "   at W.Crash()"]


def test_the_last_report_counts():
    said = words("Stack overflow.", "at A", "Fatal Python error: Aborted", "at B")
    assert said.text == "Fatal Python error: Aborted\nat B"


def test_without_a_report_the_last_lines_are_kept():
    said = words(*map(str, range(100)))
    assert said.opening == ""
    assert said.text.splitlines() == [str(n) for n in range(100 - LAST_LINES, 100)]


def test_a_long_report_keeps_its_beginning_and_long_lines_are_cut():
    said = words("Stack overflow.", *("x" * 10_000 for _ in range(1000)))
    assert said.text.startswith("Stack overflow.\nxxx")
    assert len(said.text.splitlines()) == MAX_LINES
    assert len(said.text) < 64 * 1024


def test_secrets_are_masked_in_both():
    plain, report = words("the key is k3y"), words("Stack overflow.", "at k3y")
    for said in (plain, report):
        said.mask(lambda line: line.replace("k3y", "***"))
        assert "k3y" not in said.text
        assert "***" in said.text
