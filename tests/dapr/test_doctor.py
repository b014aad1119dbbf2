"""`workmanager doctor --dapr`, and the shipped component files, in which it finds no fault."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dapr_client import Client
from sidecars import DAPRD, fake_sidecar, free_port, real_sidecar, redis_server

from workmanager.config import Settings, load_settings
from workmanager.ops.dapr_files import check_files

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "dapr"
RUN_KEYS = {"appID", "appDirPath", "appPort", "command", "enableAppHealthCheck"}
RUN_KEYS |= {"appHealthCheckPath", "env", "resourcesPaths"}  # dapr/cli 1.18, pkg/standalone/run.go


def doctor(environ, *options, expect=0):
    """Run the command; returns its checks by name."""
    words = [sys.executable, "-m", "workmanager.cli", "doctor", "--dapr", "-o", "json", *options]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DAPR_", "WORKMANAGER_"))}
    done = subprocess.run(
        words, env=clean | environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


@contextlib.contextmanager
def sidecar_of(folder, tmp_path):
    """Run a daprd on the shipped files of *folder*, or the fake where there is none."""
    if not DAPRD:
        flavor = "memory" if folder == "memory" else "redis"
        with fake_sidecar("workmanager", "--flavor", flavor) as place:
            yield place
        return
    resources = tmp_path / "resources"
    resources.mkdir()
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(redis_server(tmp_path / "redis"))
        for path in (EXAMPLES / folder).glob("*.yaml"):
            text = path.read_text().replace("localhost:6379", f"127.0.0.1:{port}")
            (resources / path.name).write_text(text)
        yield stack.enter_context(real_sidecar("workmanager", tmp_path, redis_port=port))


class TestShippedFiles:
    def test_they_work_with_redis(self, tmp_path):
        with sidecar_of("redis", tmp_path) as place:
            found = doctor(place.environment, "--resources", str(EXAMPLES / "redis"))
            assert {check["status"] for check in found.values()} == {"ok"}
            assert found.keys() == {
                "sidecar",
                "pubsub",
                "bulk publish",
                "state",
                "first write",
                "locks",
                "files",
            }
            client = Client(place.grpc_port)
            if DAPRD:
                assert [each.name for each in client.told().resiliencies] == ["workmanager"]
            client.close()

    def test_they_work_in_memory(self, tmp_path):
        with sidecar_of("memory", tmp_path) as place:
            found = doctor(place.environment, "--resources", str(EXAMPLES / "memory"))
        weak = {name for name, check in found.items() if check["status"] == "warning"}
        assert weak == {"pubsub", "state", "locks"}
        assert all(found[name]["mend"] for name in weak)

    def test_the_run_template_is_whole(self):
        template = yaml.safe_load((EXAMPLES / "dapr.yaml").read_text())
        assert template["version"] == 1
        for path in template["common"]["resourcesPaths"]:
            assert (EXAMPLES / path / "pubsub.yaml").exists()
        for app in template["apps"]:
            assert app.keys() <= RUN_KEYS
        [ours] = [app for app in template["apps"] if app["appID"] == "workmanager"]
        program, verb, *options = ours["command"]
        assert (program, verb) == ("workmanager", "serve")
        pairs = dict(word.split("=") for word in options if word != "--set")
        assert load_settings(None, pairs).shutdown_grace_s < 5  # what dapr run waits


class TestDoctor:
    def test_no_sidecar(self):
        found = doctor({"DAPR_GRPC_PORT": str(free_port())}, expect=1)
        assert found["sidecar"]["status"] == "failed"
        assert "dapr run" in found["sidecar"]["mend"]

    def test_token_is_missing_or_wrong_or_right(self):
        with fake_sidecar("app", "--api-token", "secret") as place:
            for token in ({}, {"DAPR_API_TOKEN": "wrong"}):
                found = doctor(place.environment | token, expect=1)
                assert "DAPR_API_TOKEN" in found["sidecar"]["mend"]
            doctor(place.environment | {"DAPR_API_TOKEN": "secret"})

    def test_components_are_missing(self):
        with fake_sidecar("app", "--pubsubs", "", "--states", "other", "--locks", "") as place:
            found = doctor(place.environment, expect=1)
            assert found["pubsub"]["status"] == found["state"]["status"] == "failed"
            assert found["locks"]["status"] == "warning"
            found = doctor(place.environment, "--set", "dapr_state_store=other", expect=1)
            assert found["state"]["status"] == "ok"

    def test_stores_that_refuse(self):
        with fake_sidecar("app") as place:
            place.fault("SaveState", code="INTERNAL")
            place.fault("TryLockAlpha1", code="UNAVAILABLE")
            place.fault("BulkPublishEvent", code="UNIMPLEMENTED")
            place.fault("BulkPublishEventAlpha1", code="UNIMPLEMENTED")
            found = doctor(place.environment, expect=1)
        status = {name: check["status"] for name, check in found.items()}
        assert status["first write"] == status["locks"] == "failed"
        assert status["bulk publish"] == "warning"

    def test_it_leaves_nothing(self):
        with fake_sidecar("app") as place:
            doctor(place.environment)
            assert place.control("GET", "/state") == place.control("GET", "/locks") == {}
            assert place.told()["subscriptions"] == []

    def test_options_that_do_not_go_together(self):
        words = [sys.executable, "-m", "workmanager.cli", "doctor"]
        for options in (["--dapr", "--sandbox"], ["--resources", "."]):
            assert subprocess.run([*words, *options], check=False, timeout=60).returncode == 2

    def test_files_that_cannot_be_read(self, tmp_path):
        (tmp_path / "pubsub.yaml").write_text("a: [")
        environ = {"DAPR_GRPC_PORT": str(free_port())}
        found = doctor(environ, "--resources", str(tmp_path), expect=1)
        assert found["file pubsub.yaml"]["status"] == "failed"
        found = doctor(environ, "--resources", str(tmp_path / "nothing"), expect=1)
        assert found["files"]["status"] == "failed"


def component(name, kind, **metadata):
    items = [{"name": key, "value": value} for key, value in metadata.items()]
    return {
        "kind": "Component",
        "metadata": {"name": name},
        "spec": {"type": kind, "metadata": items},
    }


def shipped(**changes):
    """The shipped pub/sub component with some values changed; None takes one away."""
    document = yaml.safe_load((EXAMPLES / "redis" / "pubsub.yaml").read_text())
    values = {item["name"]: item["value"] for item in document["spec"]["metadata"]} | changes
    values = {key: value for key, value in values.items() if value is not None}
    return component("pubsub", "pubsub.redis", **values)


RETRYING = {
    "kind": "Resiliency",
    "metadata": {"name": "r"},
    "spec": {"targets": {"components": {"pubsub": {"inbound": {"retry": "again"}}}}},
}
DECLARED = {
    "kind": "Subscription",
    "metadata": {"name": "s"},
    "spec": {"pubsubname": "pubsub", "topic": "t"},
}


@pytest.mark.parametrize(
    ("document", "statuses"),
    [
        (shipped(), []),
        (shipped(redeliverInterval="5s"), ["failed"]),
        (shipped(redeliverInterval="0"), ["failed"]),
        (shipped(processingTimeout="0"), ["failed"]),
        (shipped(poolSize=None), ["failed"]),
        (shipped(poolSize="20"), ["failed"]),
        (shipped(readTimeout=None), ["warning"]),
        (shipped(maxLenApprox="1000"), ["warning"]),
        (shipped(streamTTL="1h"), ["warning"]),
        (component("other", "pubsub.redis"), []),
        (component("pubsub", "pubsub.kafka"), []),
        (component("statestore", "state.redis"), []),
        (component("statestore", "state.redis", ttlInSeconds="60"), ["failed"]),
        (component("statestore", "state.redis", keyPrefix="none"), ["warning"]),
        ({**component("statestore", "state.redis", ttlInSeconds="1"), "scopes": ["other"]}, []),
        (RETRYING, ["warning"]),
        (DECLARED, ["failed"]),
        ({"kind": "Configuration"}, []),
    ],
)
def test_settings_that_lose_events(document, statuses):
    found = list(check_files([document], Settings(), "workmanager"))
    assert [check.status for check in found] == statuses
    assert all(check.mend for check in found)
