"""Fixtures of the .NET tests: one zygote and one warm compiler for all of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from dotnet_harness import Compiler, Lab, start_zygote

import dotnet_fixture


@pytest.fixture(scope="session")
def dotnet():
    try:
        return dotnet_fixture.find()
    except dotnet_fixture.UnavailableError as error:
        pytest.skip(f"no .NET: {error}")


@pytest.fixture(scope="session")
def dotnet_zygote(dotnet):
    pytest.importorskip("clr_loader", reason="clr_loader is not installed")
    with start_zygote() as zygote:
        yield zygote


@pytest.fixture(scope="session")
def compiler(dotnet_zygote, dotnet):
    running = Compiler.start(dotnet_zygote, dotnet)
    with running.executor:
        yield running


@pytest.fixture
def lab(dotnet_zygote, compiler, dotnet):
    made = Lab(dotnet_zygote, compiler, dotnet, [])
    yield made
    made.close()
