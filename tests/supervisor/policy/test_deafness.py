from __future__ import annotations

from dataclasses import replace

import pytest

from workmanager.policy.deafness import Seen, why_deaf

WELL = Seen(
    open_s=100.0,
    silent_s=10.0,
    awaited_s=0.0,
    list_s=50.0,
    is_listed=True,
    is_hung=False,
    fruitless=0,
)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, ""),
        ({"is_hung": True}, "one id"),
        ({"is_listed": False}, "list"),
        ({"is_listed": False, "list_s": 0.5}, ""),
        ({"awaited_s": 21.0}, "published here"),
        ({"silent_s": 301.0}, "nothing has come"),
        ({"is_hung": True, "open_s": 1.0}, ""),
        ({"awaited_s": 30.0, "fruitless": 1}, ""),
        ({"awaited_s": 41.0, "fruitless": 1}, "published here"),
        ({"is_listed": False, "fruitless": 8}, ""),
    ],
)
def test_stream_is_replaced_on_evidence_and_less_often_in_vain(change, word):
    why = why_deaf(replace(WELL, **change), silence_s=300.0)
    assert (word in why) if word else not why
