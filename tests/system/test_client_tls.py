"""The Python client and the command over mutual TLS, at both doors."""

import asyncio

import anyio
import pytest
import trio
import trustme
from click.testing import CliRunner
from system_harness import serving

from workmanager.cli.root import root
from workmanager.client import (
    AsyncWorkManagerClient,
    ClientError,
    NoSupervisorError,
    Tls,
    WorkManagerClient,
)

pytestmark = pytest.mark.slow

DOORS = ("https", "grpcs")
LIMIT_S = 30


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Certificates of the service, of a client, and of a client of another authority."""
    folder = tmp_path_factory.mktemp("tls")
    own, other = trustme.CA(), trustme.CA()
    own.cert_pem.write_to_path(folder / "ca.pem")
    for name, authority in (("server", own), ("client", own), ("stranger", other)):
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def doors(tmp_path_factory, files):
    options = ["--set", "grpc_bind=127.0.0.1:0", "--set", f"tls_client_ca={files / 'ca.pem'}"]
    options += ["--set", f"tls_certificate={files / 'server.pem'}"]
    options += ["--set", f"tls_key={files / 'server.key'}"]
    with serving(tmp_path_factory.mktemp("state"), *options) as service:
        urls = service.wait_line("serving")["urls"]
        yield {url.partition(":")[0]: url for url in urls}


def tls(files, name):
    if not name:
        return Tls(authorities=str(files / "ca.pem"))
    return Tls(str(files / f"{name}.pem"), str(files / f"{name}.key"), str(files / "ca.pem"))


@pytest.mark.parametrize("door", DOORS)
def test_a_client_with_a_certificate_calls_and_watches(doors, files, door):
    with WorkManagerClient(doors[door], tls=tls(files, "client")) as client:
        assert client.list_workers().items == []
        with client.watch() as changes:
            assert next(changes).type == "BOOKMARK"


@pytest.mark.parametrize("run", [trio.run, asyncio.run])
@pytest.mark.parametrize("door", DOORS)
def test_so_does_an_asynchronous_one(doors, files, door, run):
    async def scenario():
        with anyio.fail_after(LIMIT_S):
            async with AsyncWorkManagerClient(doors[door], tls=tls(files, "client")) as client:
                assert (await client.list_workers()).items == []
                async with client.watch() as changes:
                    assert (await anext(changes)).type == "BOOKMARK"

    run(scenario() if run is asyncio.run else scenario)


@pytest.mark.parametrize("name", ["", "stranger"])
@pytest.mark.parametrize("door", DOORS)
def test_others_are_refused(doors, files, door, name):
    with (
        WorkManagerClient(doors[door], tls=tls(files, name)) as client,
        pytest.raises(ClientError),
    ):
        client.list_workers()


@pytest.mark.parametrize("door", DOORS)
def test_a_service_of_another_authority_is_not_trusted(doors, door):
    with WorkManagerClient(doors[door], tls=Tls()) as client, pytest.raises(NoSupervisorError):
        client.list_workers()


@pytest.mark.parametrize("door", DOORS)
def test_a_file_that_is_missing_is_named(doors, files, door):
    wrong = Tls(str(files / "absent.pem"), "", str(files / "ca.pem"))
    with (
        WorkManagerClient(doors[door], tls=wrong) as client,
        pytest.raises(NoSupervisorError, match=r"absent\.pem"),
    ):
        client.list_workers()


@pytest.mark.parametrize("door", DOORS)
def test_the_command_takes_them_from_its_environment(doors, files, door):
    environ = {
        "WORKMANAGER_CLIENT_CERTIFICATE": str(files / "client.pem"),
        "WORKMANAGER_CLIENT_KEY": str(files / "client.key"),
        "WORKMANAGER_CLIENT_CA": str(files / "ca.pem"),
    }
    words = ["worker", "list", "-o", "json", "--target", doors[door]]
    ended = CliRunner(env=environ).invoke(root, words)
    assert (ended.exit_code, ended.stdout.strip()) == (0, "[]"), ended.output
