"""The example of the documentation does what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.slow]

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "grpc_client.py"


def test_the_example_client_runs(api):
    words = [sys.executable, str(EXAMPLE), api.target, str(api.state / "token")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.splitlines() == [
        "created greeter RUNNING",
        "watching greeter",
        'answered {"greeting":"Hello Ada"}',
        "deleted",
        "refused NOT_FOUND WORKER_NOT_FOUND",
    ], ended.stderr
