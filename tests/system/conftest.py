"""Fixtures of the system tests: one real service per module, a corner of it per test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode hides the harness otherwise

from system_harness import SIDECARS, Lab, serving

HERE = Path(__file__).parent


def pytest_configure(config):
    SIDECARS.is_on = config.getoption("backend") == "dapr"


def pytest_unconfigure():
    SIDECARS.close()


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Run one service for all tests of a module."""
    with serving(tmp_path_factory.mktemp("state")) as service:
        yield service


@pytest.fixture
def lab(shared):
    corner = Lab(shared)
    yield corner
    corner.close()
