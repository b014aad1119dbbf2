"""Where workers are declared for all hosts: joining, being away, and a sidecar that is."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from system_harness import Lab, ProblemError, manifest, serving, until

sys.path.insert(0, str(Path(__file__).parents[1] / "dapr"))

from sidecars import fake_sidecar

ECHO = "def process(event): return event.data"


@contextmanager
def client_of(service):
    lab = Lab(service)
    try:
        yield lab.client
    finally:
        lab.client.close()


def names(client):
    return sorted(worker["name"] for worker in client.all("/v1/workers"))


def check_of(client, name):
    checks = client.get("/v1/health?verbose=true")["checks"]
    return next((check for check in checks if check["name"] == name), None)


def test_hosts_bring_their_workers_and_learn_what_happened_while_they_were_away(tmp_path):
    with serving(tmp_path / "a", "--backend", "embedded") as alone, client_of(alone) as client:
        for name in ("old", "gone", "same"):
            client.post("/v1/workers", manifest(name, ECHO))
    with serving(tmp_path / "b", "--backend", "embedded") as alone, client_of(alone) as client:
        client.post("/v1/workers", manifest("same", ECHO))
    with fake_sidecar("app") as first:
        second = first.another()
        with serving(tmp_path / "a", environ=first.environment) as a, client_of(a) as here:
            until(lambda: check_of(here, "registry")["status"] == "ok")
            with ExitStack() as stack:
                b = stack.enter_context(serving(tmp_path / "b", environ=second.environment))
                there = stack.enter_context(client_of(b))
                # Two workers of one name: nothing is given up, and the host says what to do.
                why = until(lambda: (check_of(there, "registry") or {}).get("detail"))
                until(lambda: "not of the registry" in check_of(there, "registry")["detail"]), why
                there.finish(there.call("DELETE", "/v1/workers/same"))
                until(lambda: names(there) == ["gone", "old", "same"])
                until(lambda: check_of(there, "registry")["status"] == "ok")
                uids = [{w["uid"] for w in c.all("/v1/workers")} for c in (here, there)]
                assert uids[0] == uids[1]
            here.finish(here.call("DELETE", "/v1/workers/gone"))
            here.post("/v1/workers", manifest("new", ECHO))
            here.post("/v1/workers/old:stop")
            with serving(tmp_path / "b", environ=second.environment) as b, client_of(b) as there:
                until(lambda: names(there) == ["new", "old", "same"])
                until(lambda: there.get("/v1/workers/old")["status"]["state"] == "STOPPED")


def test_while_the_sidecar_is_away_workers_go_on_and_declaring_is_refused_whole(tmp_path):
    with (
        fake_sidecar("app") as sidecar,
        serving(tmp_path / "a", environ=sidecar.environment) as service,
        client_of(service) as client,
    ):
        client.post("/v1/workers", manifest("w", ECHO))
        before = client.get("/v1/workers/w")
        sidecar.kill()
        until(lambda: check_of(client, "registry")["status"] == "degraded", timeout_s=30)
        for call in (
            lambda: client.post("/v1/workers", manifest("x", ECHO)),
            lambda: client.call("PUT", "/v1/workers/w", manifest("w", "def process(e): pass")),
            lambda: client.post("/v1/workers/w:stop"),
        ):
            with pytest.raises(ProblemError) as caught:
                call()
            assert (caught.value.status, caught.value.body["reason"]) == (503, "BROKER_UNAVAILABLE")
        assert names(client) == ["w"]
        after = client.get("/v1/workers/w")
        assert (after["etag"], after["spec"]) == (before["etag"], before["spec"])
        sidecar.start()
        until(lambda: check_of(client, "registry")["status"] == "ok", timeout_s=30)
        client.post("/v1/workers/w:stop")


def test_a_state_store_that_lost_everything_is_filled_again_and_nothing_is_deleted(tmp_path):
    with (
        fake_sidecar("app", "--flavor", "memory") as sidecar,
        serving(tmp_path / "a", environ=sidecar.environment) as service,
        client_of(service) as client,
    ):
        client.post("/v1/workers", manifest("w", ECHO))
        since = len(service.lines)
        sidecar.kill()
        sidecar.start()  # its memory is a new one
        service.wait_line("registry_joined", since=since, timeout_s=30)
        until(lambda: check_of(client, "registry")["status"] == "ok")
        assert names(client) == ["w"]
        client.post("/v1/workers/w:stop")


def test_a_change_whose_answer_was_lost_is_found_out(tmp_path):
    with (
        fake_sidecar("app") as sidecar,
        serving(tmp_path / "a", environ=sidecar.environment) as service,
        client_of(service) as client,
    ):
        until(lambda: check_of(client, "registry")["status"] == "ok")
        sidecar.fault("SaveState", kind="lose", match="wm.index")
        client.post("/v1/workers", manifest("w", ECHO))
        sidecar.heal()
        client.call("PUT", "/v1/workers/w", manifest("w", "def process(event): pass"))
        assert client.get("/v1/workers/w")["generation"] == 2
