"""Talks to a jailer: starts it as root or as an ordinary user, hands it one attack at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXECUTOR_FOLDER = HERE.parents[2] / "executors" / "workmanager_executor"
ORDINARY_UID = 65533
WORKER_UID = 64999  # of level uid
ANSWER_S = 30


class Jailer:
    """A running jailer; one line of JSON each way."""

    def __init__(self, *, ordinary: bool) -> None:
        drop = ["--uid", str(ORDINARY_UID)] if ordinary and os.geteuid() == 0 else []
        python = interpreter_for_others() if drop else sys.executable
        command = [python, "-I", "-S", str(HERE / "jailer.py"), *drop, str(EXECUTOR_FOLDER)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}, text=True
        )

    def ask(self, attack: str, level: str, *, cap_s: float = 3.0) -> dict:
        request = {"attack": attack, "level": level, "cap_s": cap_s}
        if level == "uid":
            request["uid"] = WORKER_UID
        return self._ask(request)

    def run(self, code: str, *, cap_s: float = 10.0, **profile: object) -> object:
        """Run honest code inside of *profile* and return what it tells."""
        answer = self.try_run(code, cap_s=cap_s, **profile)
        if answer["verdict"] == "unavailable":
            pytest.skip(answer["detail"])
        assert answer["verdict"] == "told", answer
        return json.loads(answer["detail"])

    def try_run(self, code: str, *, cap_s: float = 10.0, **profile: object) -> dict:
        """As `run`, with the whole answer."""
        text = textwrap.dedent(code)
        return self._ask({"code": text, "profile": profile, "cap_s": cap_s})

    def _ask(self, request: dict) -> dict:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the jailer died of {request} with {self._process.wait()}"
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(ANSWER_S)
        self._process.stdout.close()


def interpreter_for_others() -> str | None:
    """An interpreter that an ordinary user can reach; root's own may lie in its home."""
    for python in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")):
        if python and all(_is_open(part) for part in Path(python).resolve().parents):
            return python
    return None


def can_be_ordinary() -> bool:
    """Whether an ordinary user can run a jailer: the host, or we, are one."""
    if os.geteuid() != 0:
        return True
    return interpreter_for_others() is not None and all(map(_is_open, HERE.parents))


def _is_open(folder: Path) -> bool:
    return bool(folder.stat().st_mode & 0o001)
