"""Exceptions as outcomes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgpack
import pytest

from workmanager_executor import Drop, NonRetryable, Retry
from workmanager_executor.faults import (
    MAX_MESSAGE_BYTES,
    MAX_TRACEBACK_BYTES,
    verdict_on,
)


class PaymentError(NonRetryable):
    pass


class UnshowableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "status", "kind", "message", "after_s"),
    [
        (ValueError("bad"), 1, "ValueError", "bad", None),
        (SystemExit(3), 1, "SystemExit", "3", None),
        (KeyboardInterrupt(), 1, "KeyboardInterrupt", "", None),
        (Retry("busy", after=2), 2, "Retry", "busy", 2.0),
        (Retry(after=timedelta(minutes=1)), 2, "Retry", "", 60.0),
        (Retry(after=-5), 2, "Retry", "", 0.0),
        (NonRetryable("no"), 3, "NonRetryable", "no", None),
        (NonRetryable("no", type="Invalid"), 3, "Invalid", "no", None),
        (PaymentError("card"), 3, "PaymentError", "card", None),
        (Drop("old"), 4, "Drop", "old", None),
        (asyncio.CancelledError(), 5, "Cancelled", "", None),
    ],
)
def test_exception_decides_the_status(error, status, kind, message, after_s):
    got_status, outputs, fault = verdict_on(error)
    assert (got_status, outputs) == (status, [])
    assert (fault[0], fault[1], fault[3]) == (kind, message, after_s)


def test_texts_are_bounded_and_can_be_encoded():
    _, _, fault = verdict_on(ValueError("\ud800ü" * 100_000))
    assert len(fault[1].encode()) <= MAX_MESSAGE_BYTES
    assert len(fault[2].encode()) <= MAX_TRACEBACK_BYTES
    msgpack.packb(fault)


def test_exception_that_cannot_be_shown_still_has_an_outcome():
    status, _, fault = verdict_on(UnshowableError())
    assert status == 1
    assert fault[:2] == ["UnshowableError", "<its message cannot be shown: ZeroDivisionError>"]


def test_traceback_ends_with_the_error_when_cut():
    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        raise ValueError("at the bottom")

    try:
        deep(200)
    except ValueError as error:
        _, _, fault = verdict_on(error)
    assert fault[2].rstrip().endswith("ValueError: at the bottom")


def test_traceback_keeps_causes_and_hides_the_runtime():
    from workmanager_executor.values import to_json

    try:
        try:
            to_json({1, 2})
        except NonRetryable as cause:
            raise RuntimeError("wrapped") from cause
    except RuntimeError as error:
        trace = verdict_on(error)[2][2]
    assert "direct cause" in trace
    assert "values.py" not in trace
    assert "test_faults.py" in trace
