from __future__ import annotations

from pathlib import Path

import pytest

from workmanager.errors import InvalidArgumentError
from workmanager.sidecar.address import Address, find_address


@pytest.mark.parametrize(
    ("given", "environ", "target", "is_tls"),
    [
        ("", {}, "127.0.0.1:50001", False),
        ("", {"DAPR_GRPC_PORT": "3501"}, "127.0.0.1:3501", False),
        ("", {"DAPR_GRPC_ENDPOINT": "https://dapr.test"}, "dapr.test:443", True),
        ("", {"DAPR_GRPC_ENDPOINT": "dapr.test:5?tls=true"}, "dapr.test:5", True),
        ("", {"DAPR_GRPC_ENDPOINT": "https://dapr.test:5?tls=false"}, "dapr.test:5", False),
        ("near:7", {"DAPR_GRPC_ENDPOINT": "far:8", "DAPR_GRPC_PORT": "9"}, "near:7", False),
        ("http://near", {}, "near:50001", False),
        ("[::1]:7", {}, "[::1]:7", False),
        ("unix:///run/daprd.sock", {}, "unix:/run/daprd.sock", False),
    ],
)
def test_address_comes_from_settings_then_environment(given, environ, target, is_tls):
    assert find_address(given, environ) == Address(target, is_tls=is_tls)


def test_token_comes_from_environment_and_authority_turns_tls_on():
    found = find_address("a:1", {"DAPR_API_TOKEN": "secret"}, ca=Path("ca.pem"))
    assert found == Address("a:1", "secret", is_tls=True, ca=Path("ca.pem"))


@pytest.mark.parametrize("given", ["ftp://a:1", "a:port", "a:0", ":5", "http://"])
def test_what_is_no_address_is_refused_with_its_setting(given):
    with pytest.raises(InvalidArgumentError) as caught:
        find_address(given, {})
    assert caught.value.faults[0].pointer == "dapr_grpc_address"
