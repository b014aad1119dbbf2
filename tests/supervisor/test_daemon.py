"""The service as a process: what it says where it cannot start."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SERVE = (sys.executable, "-m", "workmanager.cli", "serve", "--dev", "--socket", "none")
SERVE += ("--set", "grpc_bind=none")
LIMIT_S = 30


def serve(state: Path, bind: str) -> subprocess.CompletedProcess[str]:
    command = [*SERVE, "--state", str(state), "--bind", bind]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def test_a_taken_port_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = serve(tmp_path / "state", f"127.0.0.1:{port}")
    assert ended.returncode == 4
    assert "Traceback" not in ended.stderr
    assert "the address is in use" in ended.stderr.splitlines()[-1]


def test_a_state_folder_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a folder")
    ended = serve(tmp_path / "state", "127.0.0.1:0")
    assert ended.returncode == 4
    assert "Traceback" not in ended.stderr
    assert str(tmp_path / "state") in ended.stderr.splitlines()[-1]
