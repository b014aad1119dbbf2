"""Fixtures of the sandbox tests: jailers, which run code in real sandboxes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.with_name("hostile")))

from warden import Jailer, can_be_ordinary


@pytest.fixture(scope="session")
def jailer():
    """As whoever runs the tests; in CI that is root."""
    running = Jailer(ordinary=False)
    yield running
    running.close()


@pytest.fixture(scope="session")
def ordinary_jailer():
    if not can_be_ordinary():
        pytest.skip("an ordinary user cannot reach the interpreter or the tests")
    running = Jailer(ordinary=True)
    yield running
    running.close()


@pytest.fixture(params=["basic", "full", "uid"])
def level(request):
    if request.param == "uid" and os.geteuid() != 0:
        pytest.skip("level uid needs root")
    return request.param


@pytest.fixture
def cage(jailer, level):
    """`cage(code, **profile)` at each level, with a scratch to write to."""

    def run(code, **profile):
        fields = {"uid": 64999} if level == "uid" else {}
        fields.update({"scratchPath": True} if level == "basic" else {})
        return jailer.run(code, level=level, **{**fields, **profile})

    return run
