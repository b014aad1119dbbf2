"""Fixtures of the executor tests: one real zygote per module, a fresh executor per test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode hides the harness otherwise

from harness import ZygoteProcess


@pytest.fixture(scope="module")
def zygote():
    with ZygoteProcess.start() as running:
        yield running


@pytest.fixture
def executor(zygote):
    with zygote.spawn() as running:
        yield running
