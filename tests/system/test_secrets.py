"""Secrets: given to executors as files and variables, and shown nowhere else."""

import hashlib
import json
from pathlib import Path

import psutil
import pytest
from system_harness import Lab, ProblemError, serving, until

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
KEY = b"-----BEGIN KEY-----\n\x00\xff binary\n-----END KEY-----\n"
CODE = """
import hashlib, os, stat
HERE = os.environ["CREDENTIALS_DIRECTORY"]

def process(event):
    if event.data == "leak":
        print("the password is", os.environ["DB_PASSWORD"])
        raise ValueError(os.environ["DB_PASSWORD"])
    with open(os.path.join(HERE, "tls.key"), "rb") as file:
        body = file.read()
    return {
        "variable": hashlib.sha256(os.environ["DB_PASSWORD"].encode()).hexdigest(),
        "other": os.environ["OTHER"] == os.environ["DB_PASSWORD"],
        "file": hashlib.sha256(body).hexdigest(),
        "mode": stat.S_IMODE(os.stat(os.path.join(HERE, "tls.key")).st_mode),
        "folder": stat.S_IMODE(os.stat(HERE).st_mode),
        "names": sorted(os.listdir(HERE)),
    }
"""
SECRETS = [
    {"name": "tls.key"},
    {"name": "db-password", "as": "env"},
    {"name": "db-password", "as": "env", "variable": "OTHER"},
]


def write(folder, name, body, mode=0o600):
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_bytes(body)
    path.chmod(mode)


def sha256(body):
    return hashlib.sha256(body).hexdigest()


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("credentials")
    write(folder, "db-password", PASSWORD.encode() + b"\n")
    write(folder, "tls.key", KEY)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory, credentials):
    with serving(
        tmp_path_factory.mktemp("state"), "--set", f"secrets_dir={credentials}"
    ) as service:
        yield service


@pytest.mark.parametrize("level", ["auto", "none", "basic", "full", "uid"])
def test_an_executor_gets_files_and_variables(lab, level):
    try:
        worker = lab.worker("given", CODE, secrets=SECRETS, isolation={"level": level})
    except ProblemError as error:
        if level in ("full", "uid", "basic") and "cannot be had" in str(error):
            pytest.skip(f"level {level} is not to be had here")
        raise
    outcome = worker.invoke(1)["outputs"][0]["data"]
    assert outcome == {
        "variable": sha256(PASSWORD.encode()),
        "other": True,
        "file": sha256(KEY),
        "mode": 0o400,
        "folder": 0o700,
        "names": ["tls.key"],
    }
    pid = worker.executors()[0]["pid"]
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        assert PASSWORD not in json.dumps(process.environ())
    if level in ("none", "basic"):
        folder = lab.service.state / "scratch" / worker.executors()[0]["id"]
        assert (folder / ".credentials" / "tls.key").exists()
        worker.verb("stop")
        until(lambda: not folder.exists(), what="its folder goes with it")


def test_no_listing_log_error_or_file_shows_a_secret(lab):
    worker = lab.worker("leaky", CODE, secrets=SECRETS, retry={"maximumAttempts": 1}, topic="t")
    with pytest.raises(ProblemError) as refused:
        worker.invoke("leak")
    assert "***" in str(refused.value)
    lab.send("t", "leak")
    until(worker.dead_letters)
    seen = [
        str(refused.value),
        json.dumps(worker.get()),
        json.dumps(worker.dead_letters()),
        json.dumps(worker.tasks()),
        json.dumps(lab.client.get(f"{worker.path}:explain")),
        json.dumps(lab.client.get(f"{worker.path}/versions")),
        json.dumps(lab.client.get(f"{worker.path}/executors")),
        *worker.texts(),
        *map(str, lab.service.lines),
    ]
    assert any("the password is ***" in text for text in seen)
    assert not [text for text in seen if PASSWORD in text]
    assert {"name": "db-password", "as": "env", "variable": ""} in worker.get()["spec"]["secrets"]
    for path in Path(lab.service.state).rglob("*"):
        if path.is_file() and ".credentials" not in path.parts:
            assert PASSWORD.encode() not in path.read_bytes(), path


def test_a_restart_takes_the_secret_as_it_is_now(lab, credentials):
    write(credentials, "turning", b"first")
    code = "import os\ndef process(event):\n    return os.environ['TURNING']\n"
    worker = lab.worker("turning", code, secrets=[{"name": "turning", "as": "env"}])
    assert worker.invoke()["outputs"][0]["data"] == "first"
    write(credentials, "turning", b"second")
    assert worker.invoke()["outputs"][0]["data"] == "first"
    worker.verb("restart")
    assert worker.invoke()["outputs"][0]["data"] == "second"


@pytest.mark.parametrize(
    ("name", "body", "mode", "words"),
    [
        ("absent", None, 0, "No such file"),
        ("open", b"x", 0o604, "open to others"),
        ("huge", b"x" * 65537, 0o600, "more than 65536 bytes"),
        ("binary", b"\xff", 0o600, "is no text"),
        ("holed", b"a\0b", 0o600, "NUL"),
    ],
)
def test_a_secret_that_is_not_fit_refuses_the_worker(lab, credentials, name, body, mode, words):
    if body is not None:
        write(credentials, name, body, mode)
    with pytest.raises(ProblemError, match=words) as refused:
        lab.worker("unfit", CODE, secrets=[{"name": name, "as": "env"}])
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("secrets", "where"),
    [
        ([{"name": "../token"}], "spec.secrets[0].name"),
        ([{"name": ".hidden"}], "spec.secrets[0].name"),
        ([{"name": "a", "as": "socket"}], "spec.secrets[0].as"),
        ([{"name": "a", "variable": "A"}], "spec.secrets[0].variable"),
        ([{"name": "a"}, {"name": "a"}], "spec.secrets[1]"),
        ([{"name": "a", "as": "env"}, {"name": "A", "as": "env"}], "spec.secrets[1]"),
    ],
)
def test_faults_are_told_with_their_place(lab, secrets, where):
    with pytest.raises(ProblemError) as refused:
        lab.worker("faulty", CODE, secrets=secrets)
    assert where in [error["pointer"] for error in refused.value.body["errors"]]


def test_what_systemd_loads_beside_the_secrets_is_not_for_workers(tmp_path):
    """systemd calls the files of a folder ID_NAME; the token lies beside them."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    write(folder, "secrets_db", b"the database", 0o440)
    write(folder, "token", b"the-root-token-of-this-service", 0o440)
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    with serving(tmp_path / "state", environ=environ) as service:
        lab = Lab(service)
        code = "import os\ndef process(event):\n    return os.environ['DB']\n"
        worker = lab.worker("db", code, secrets=[{"name": "db", "as": "env"}])
        assert worker.invoke()["outputs"][0]["data"] == "the database"
        with pytest.raises(ProblemError, match="No such file"):
            lab.worker("thief", code, secrets=[{"name": "token", "as": "env"}])
        lab.close()
