"""The sidecars that the conformance suite runs against."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode hides the helpers otherwise

from dapr_client import Client
from sidecars import DAPRD, PLAIN, fake_sidecar, real_sidecar, redis_server

KINDS = ["fake-redis", "fake-memory", *(["daprd-redis", "daprd-memory"] if DAPRD else [])]
FAST = ("--processing-timeout", "1", "--redeliver-interval", "0.2")


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def is_redis(kind):
    return kind.endswith("redis")


@pytest.fixture(scope="module")
def is_fake(kind):
    return kind.startswith("fake")


@pytest.fixture(scope="module")
def place(kind, tmp_path_factory):
    """Run one sidecar for the module; its Redis redelivers after a second."""
    with ExitStack() as stack:
        if kind.startswith("fake"):
            flavor = ("--flavor", kind.removeprefix("fake-"))
            yield stack.enter_context(fake_sidecar("app", *flavor, *FAST))
            return
        folder = tmp_path_factory.mktemp("daprd")
        port, settings = None, {}
        if kind == "daprd-redis":
            port = stack.enter_context(redis_server(folder / "redis"))
            settings = PLAIN
        yield stack.enter_context(real_sidecar("app", folder, redis_port=port, **settings))


@pytest.fixture
def client(place):
    client = Client(place.grpc_port)
    yield client
    client.close()


@pytest.fixture
def topic(request):
    return request.node.name.replace("[", "-").replace("]", "")


@pytest.fixture
def redis_only(is_redis):
    if not is_redis:
        pytest.skip("in-memory components do not have it")


@pytest.fixture
def fake_only(is_fake):
    if not is_fake:
        pytest.skip("a fault of the fake")
