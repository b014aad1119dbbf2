"""Fixtures of the system tests: one real service per module, a corner of it per test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# The importlib mode hides the harnesses otherwise.
sys.path.insert(0, str(Path(__file__).parents[1] / "executors" / "dotnet"))
sys.path.insert(0, str(Path(__file__).parents[1] / "executors"))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from engine_codes import install_plugin
from system_harness import SIDECARS, Lab, serving

import dotnet_fixture

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


@pytest.fixture(scope="session")
def dotnet():
    pytest.importorskip("clr_loader", reason="clr_loader is not installed")
    try:
        return dotnet_fixture.find()
    except dotnet_fixture.UnavailableError as error:
        pytest.skip(f"no .NET: {error}")


@pytest.fixture(scope="session")
def engine_environ(tmp_path_factory):
    """Variables of a service that knows every engine that is to be had."""
    folder = tmp_path_factory.mktemp("plugin")
    install_plugin(folder)
    found = {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    try:
        return found | dotnet_fixture.find().settings
    except dotnet_fixture.UnavailableError:
        return found


@pytest.fixture(scope="session")
def engine_service(tmp_path_factory, engine_environ):
    """Run one service for the tests of all engines: it keeps zygotes and the compiler warm."""
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "key").write_text("swordfish")
    (secrets / "key").chmod(0o600)
    options = ["grpc_bind=127.0.0.1:0", f"secrets_dir={secrets}"]
    options += ["allow_private_urls=true", "allow_http_urls=true"]
    words = [word for option in options for word in ("--set", option)]
    with serving(tmp_path_factory.mktemp("state"), *words, environ=engine_environ) as service:
        yield service


@pytest.fixture(scope="session")
def compiler(dotnet):
    """A compiler for assemblies that tests upload."""
    from dotnet_harness import Compiler, start_zygote

    with start_zygote() as zygote:
        running = Compiler.start(zygote, dotnet)
        with running.executor:
            yield running


@pytest.fixture
def lab(shared):
    corner = Lab(shared)
    yield corner
    corner.close()
