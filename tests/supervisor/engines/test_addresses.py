import ipaddress

import pytest
import trio

from workmanager.engines.addresses import refuse, resolve
from workmanager.errors import CodeError, Reason

PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "::ffff:8.8.8.8"]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fc00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::",
]
NEVER = [
    "0.0.0.0",
    "::",
    "169.254.169.254",
    "169.254.1.1",
    "fe80::1",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "::127.0.0.1",
    "fec0::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address):
    assert refuse(ipaddress.ip_address(address), allow_private=False) == ""


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_permission(address):
    assert refuse(ipaddress.ip_address(address), allow_private=False)
    assert refuse(ipaddress.ip_address(address), allow_private=True) == ""


@pytest.mark.parametrize("address", NEVER)
def test_addresses_that_serve_no_code_are_always_refused(address):
    assert refuse(ipaddress.ip_address(address), allow_private=False)
    assert refuse(ipaddress.ip_address(address), allow_private=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost"])
async def test_disguised_loopback_is_seen_through(host):
    with trio.fail_after(5), pytest.raises(CodeError, match="not public") as caught:
        await resolve(host, 80, allow_private=False)
    assert caught.value.reason is Reason.CODE_FETCH_FAILED


@pytest.mark.parametrize("host", ["a" * 300, "\ud800.example", ".."])
async def test_names_that_are_none_cannot_be_resolved(host):
    with trio.fail_after(5), pytest.raises(CodeError, match="cannot be resolved"):
        await resolve(host, 80, allow_private=True)
