"""A client of another language, made from the proto files by its own tools."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).parent / "client.js"
PACKAGES = ROOT / ".cache" / "node"  # never committed; another run finds them there
WANTED = ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1")
INSTALL_S = 100


@pytest.fixture(scope="module")
def packages():
    """The folder of Node's packages, installed once."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    if not (PACKAGES / "node_modules" / "@grpc" / "proto-loader").is_dir():
        PACKAGES.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--prefix", str(PACKAGES), "--no-save", "--no-audit", *WANTED]
        try:
            subprocess.run(words, check=True, capture_output=True, timeout=INSTALL_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm cannot install {' '.join(WANTED)}: {type(error).__name__}")
    return PACKAGES / "node_modules"


def test_node_creates_changes_watches_and_deletes_a_worker(api, make, packages):
    words = ["node", str(SCRIPT), str(ROOT / "proto"), api.target, api.token, make.name()]
    ended = subprocess.run(
        words,
        env={**os.environ, "NODE_PATH": str(packages)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    watched = told.pop("watched")
    assert told == {
        "created": "RUNNING",
        "changed": ["changed", 2],
        "output": '{"got":{"n":1}}',
        "refused": "NOT_FOUND",
        "details": 1,
        "deleted": "delete",
    }
    assert watched[:2] == ["ADDED", "BOOKMARK"]
    assert "MODIFIED" in watched
    assert watched[-1] == "DELETED"
