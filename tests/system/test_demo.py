"""`make run`: what a newcomer sees first."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import dotnet_fixture

DEMO = Path(__file__).parents[2] / "docs" / "examples" / "demo.py"
LIMIT_S = 60

pytestmark = [pytest.mark.slow, pytest.mark.system]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def start(folder, port, environ=None):
    return subprocess.Popen(
        [sys.executable, DEMO, "--folder", folder, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "120", **(environ or {})},
    )


def read_until(process, words):
    """Return what the demonstration writes up to the line with *words* in it."""
    watchdog = threading.Timer(LIMIT_S, process.kill)
    watchdog.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            break
    watchdog.cancel()
    return "".join(lines)


def test_shows_events_handled_and_ends_cleanly_at_ctrl_c(tmp_path):
    environ = {"WORKMANAGER_DOTNET_ROOT": str(tmp_path / "nowhere")}
    for run in ("created", "unchanged"):  # the second run finds the state of the first
        with start(tmp_path / "state", free_port(), environ) as process:
            text = read_until(process, "The REST API, described")
            family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=LIMIT_S)
        assert text.count(" handled after ") == 5, text + rest
        assert '"text": "Thank you, Ada!"' in text
        assert run in text
        assert "left out: there is no .NET runtime" in text
        assert process.returncode == 0, rest
        assert rest.endswith("stopped\n")
        assert len(family) >= 4  # service, zygote, an executor for each worker
        assert not any(child.is_running() for child in family)


def test_shows_a_chain_of_languages(tmp_path):
    pytest.importorskip("clr_loader", reason="clr_loader is not installed")
    try:
        environ = dotnet_fixture.find().settings
    except dotnet_fixture.UnavailableError as error:
        pytest.skip(f"no .NET: {error}")
    with start(tmp_path, free_port(), environ) as process:
        text = read_until(process, "The REST API, described")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=LIMIT_S)
    for words in ("tea for 7.20", "coffee for 4.80", "cake for 18.00"):
        assert words in text, text + rest
    assert process.returncode == 0, rest


def test_says_which_port_is_taken_and_how_to_choose_another(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with start(tmp_path, port) as process:
            text, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert f"port {port} cannot be used" in text
    assert "make run PORT=" in text
    assert "Traceback" not in text
