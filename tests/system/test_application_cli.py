"""Applications on the command line: made, given keys, used, seen in the audit, over both APIs."""

import json
import os

import pytest
from click.testing import CliRunner
from system_harness import Service, base64_of

from workmanager.cli.root import root
from workmanager.client import ProblemError, WorkManagerClient

pytestmark = pytest.mark.slow

ECHO = "def process(event):\n    return event.data\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Run a service that asks for credentials; its REST and gRPC URLs."""
    state = tmp_path_factory.mktemp("state")
    service = Service.start(state, "--set", "grpc_bind=127.0.0.1:0", dev=False)
    try:
        urls = service.wait_line("serving")["urls"]
        service.url = urls[0]
        yield service, next(url for url in urls if url.startswith("grpc://"))
    except BaseException:
        service.process.kill()
        raise
    service.stop()


def wm(service, *words, code=0, token=""):
    environ = {"WORKMANAGER_STATE": str(service.state), "WORKMANAGER_TOKEN": token or None}
    ended = CliRunner(env=environ).invoke(root, [*words, "--target", service.url])
    assert ended.exit_code == code, (ended.output, ended.exception)
    return ended.stdout


def test_an_application_from_its_making_to_its_end(served):
    service, _ = served
    made = wm(service, "application", "create", "shop", "--grant", "shop-*=read,execute:shop.*",
              "--description", "the shop")  # fmt: skip
    assert "shop-*=READ,EXECUTE:shop.*" in made
    token = wm(service, "application", "issue-key", "shop").strip()
    assert token.startswith("wmk_")
    issued = json.loads(wm(service, "application", "issue-key", "shop", "--expires-in", "90d",
                           "-o", "json"))  # fmt: skip
    assert issued["accessKey"]["expiresAt"]
    assert wm(service, "worker", "list", token=token) == ""
    wm(service, "worker", "get", "other", token=token, code=4)
    wm(service, "application", "list", token=token, code=4)
    keys = json.loads(wm(service, "application", "keys", "shop", "-o", "json"))
    assert [key["id"] for key in keys] == [token.split("_")[1], issued["accessKey"]["id"]]
    assert keys[0]["lastUsedAt"]
    wm(service, "application", "update", "shop", "--grant", "*=all")
    assert json.loads(wm(service, "application", "get", "shop", "-o", "json"))["grants"] == [
        {"workers": ["*"], "rights": ["READ", "CREATE", "UPDATE", "EXECUTE", "DELETE"],
         "secrets": []}
    ]  # fmt: skip
    wm(service, "application", "delete-key", "shop", keys[0]["id"])
    wm(service, "worker", "list", token=token, code=4)
    seen = json.loads(wm(service, "audit", "--application", "shop", "-o", "json"))
    assert {entry["outcome"] for entry in seen} == {"refused"}
    assert "create_application" in wm(service, "audit", "--action", "create_application")
    wm(service, "application", "delete", "shop")
    wm(service, "worker", "list", token=issued["token"], code=4)
    wm(service, "application", "get", "shop", code=3)


@pytest.mark.parametrize("words", ["shop", "=READ", "a=NOTHING", "a=", "a=READ,"])
def test_a_grant_that_is_none_is_a_wrong_command_line(served, words):
    wm(served[0], "application", "create", "x", "--grant", words, code=2)


@pytest.mark.parametrize("door", ["rest", "grpc"])
def test_both_doors_know_keys_and_rights(served, door):
    service, grpc_url = served
    url = service.url if door == "rest" else grpc_url
    root_token = (service.state / "token").read_text().strip()
    grants = [{"workers": [f"{door}-*"], "rights": ["READ", "CREATE"]}]
    manifest = {
        "metadata": {"name": f"{door}-made"},
        "spec": {"code": {"content": base64_of(ECHO)}},
    }
    with WorkManagerClient(url, token=root_token) as admin:
        admin.create_application(f"app-{door}", grants=grants)
        issued = admin.create_access_key(f"app-{door}", expires_in_s=3600)
        other = {**manifest, "metadata": {"name": f"other-{door}"}}
        admin.create_worker(other)
        with WorkManagerClient(url, token=issued.token) as client:
            made = client.create_worker(manifest)
            assert [worker.name for worker in client.list_workers().items] == [made.name]
            for call in (
                lambda: client.get_worker(f"other-{door}"),
                lambda: client.start_worker(made.name),
                lambda: client.delete_worker(made.name),
                client.metrics,
                client.list_applications,
                client.recover,
            ):
                with pytest.raises(ProblemError) as refused:
                    call()
                assert refused.value.reason == "PERMISSION_DENIED"
        entries = admin.list_audit_entries(principal=f"key:app-{door}/").items
        assert ("create_worker", "done") in [(e.action, e.outcome) for e in entries]
        assert {e.action for e in entries if e.outcome == "refused"} >= {"recover", "get_worker"}
        admin.delete_access_key(f"app-{door}", issued.access_key.id)
        with WorkManagerClient(url, token=issued.token) as client:
            with pytest.raises(ProblemError) as refused:
                client.list_workers()
            assert refused.value.reason == "UNAUTHENTICATED"
    assert os.environ.get("WORKMANAGER_TOKEN") is None
