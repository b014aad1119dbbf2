"""Workers that bring their own interpreter: nothing of ours installed there, 3.8 and later."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
from harness import job

CODE = """
import sys, os
from dataclasses import dataclass
from workmanager_executor import Event, Retry
@dataclass
class Order:
    total: int
def process(event, context):
    print("hello from", sys.version_info[1])
    if event.data == "retry":
        raise Retry("busy", after=1)
    if event.data == "fail":
        raise ValueError("bad")
    return {"data": event.data, "path": sys.path, "env": dict(os.environ),
            "modules": sorted(sys.modules), "minor": sys.version_info[1],
            "prefix": sys.prefix, "order": Order(3).total}
"""
CODE_ASYNC = """
import asyncio
async def process(event):
    await asyncio.sleep(0)
    yield event.data
    yield event.data
"""


def interpreters() -> list:
    """Interpreters installed beside the one that runs the tests, one of each minor version."""
    beside = Path(sys.base_prefix).parent.glob("3.*/bin/python3")
    by_version = {path.parent.parent.name.split(".")[1]: path for path in sorted(beside)}
    found = [(int(minor), path) for minor, path in by_version.items() if minor.isdigit()]
    return [
        pytest.param(path, id=f"3.{minor}")
        for minor, path in sorted(found)
        if minor >= 8 and minor != sys.version_info[1]
    ]


@pytest.fixture(scope="module")
def bare_venv(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worker") / "venv"
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


@pytest.mark.parametrize("python", interpreters())
@pytest.mark.slow
def test_other_version_runs_everything(zygote, python):
    with zygote.spawn(python=str(python), env={"A": "1"}) as executor:
        answer = executor.load(CODE)
        assert answer[0] == "ready", answer
        facts = json.loads(executor.run_one({"n": 1})[3][0][5])
        assert executor.hello["python"] == str(python)
        assert answer[1]["python"].startswith(f"3.{facts['minor']}.")
        assert (facts["data"], facts["order"], facts["env"]["A"]) == ({"n": 1}, 3, "1")
        check_nothing_leaks(facts)
        assert executor.run_one("retry")[4] == ["Retry", "busy", "", 1.0]
        trace = executor.run_one("fail")[4][2]
        assert 'raise ValueError("bad")' in trace
        assert "workmanager_executor" not in trace
        assert executor.control.expect("log")[3] == f"hello from {facts['minor']}"
        executor.control.send("ping", 1)
        assert executor.drain() == 0
    with zygote.spawn(python=str(python)) as executor:
        executor.ready(CODE_ASYNC, perExecutor=2)
        outcomes = executor.run(*[executor.item(n) for n in range(20)])
        assert [len(outcome[3]) for outcome in outcomes] == [2] * 20
        assert executor.drain() == 0
    with zygote.spawn(python=str(python)) as executor:
        kind, facts = executor.load("x = 1\n)")
        assert (kind, facts["file"], facts["line"]) == ("refused", "worker.py", 2)


def check_nothing_leaks(facts: dict) -> None:
    ours = {"trio", "workmanager", "msgspec", "structlog"}
    assert not ours & {name.partition(".")[0] for name in facts["modules"]}
    here = str(Path(__file__).parents[2])
    assert not [path for path in facts["path"] if path.startswith(here)]


@pytest.mark.slow
def test_bare_virtual_environment_is_enough(zygote, bare_venv):
    with zygote.spawn(python=str(bare_venv / "bin/python")) as executor:
        executor.ready(CODE)
        facts = json.loads(executor.run_one()[3][0][5])
        assert facts["prefix"] == str(bare_venv)
        assert "_workmanager_msgpack" in facts["modules"]
        assert "msgpack" not in facts["modules"]
        check_nothing_leaks(facts)


@pytest.mark.slow
@pytest.mark.parametrize(("version", "is_used"), [("(1, 0, 0)", True), ("(0, 6, 2)", False)])
def test_own_msgpack_of_the_worker_wins_if_it_is_new_enough(zygote, bare_venv, version, is_used):
    minor = sys.version_info[1]
    packages = bare_venv / f"lib/python3.{minor}/site-packages"
    shutil.copytree(Path(msgpack.__file__).parent, packages / "msgpack")
    init = packages / "msgpack/__init__.py"
    init.write_text(init.read_text() + f"\nversion = {version}\n")
    try:
        with zygote.spawn(python=str(bare_venv / "bin/python")) as executor:
            executor.ready(CODE)
            facts = json.loads(executor.run_one()[3][0][5])
            assert ("_workmanager_msgpack" not in facts["modules"]) is is_used
    finally:
        shutil.rmtree(packages / "msgpack")


@pytest.mark.slow
def test_code_hidden_in_the_msgpack_of_a_worker_cannot_stop_its_executor(zygote, bare_venv):
    packages = bare_venv / f"lib/python3.{sys.version_info[1]}/site-packages"
    (packages / "msgpack.py").write_text("raise RuntimeError('broken package')")
    try:
        with zygote.spawn(python=str(bare_venv / "bin/python")) as executor:
            executor.ready(CODE)
    finally:
        (packages / "msgpack.py").unlink()


def test_missing_interpreter_is_refused(zygote):
    with zygote.spawn(python="/no/such/python") as executor:
        executor.events.expect("hello")
        kind, facts = executor.events.receive()
        assert (kind, facts["reason"]) == ("refused", "BUILD_FAILED")
        assert "/no/such/python cannot be started: No such file" in facts["message"]
        assert executor.wait() == 70


def test_interpreter_that_is_none_ends_without_load(zygote):
    with zygote.spawn(python="/bin/false") as executor:
        executor.events.expect("hello")
        assert executor.events.receive() is None
        assert executor.wait() == 1


def test_other_interpreter_runs_inside_the_sandbox_which_is_then_sealed(zygote, bare_venv):
    profile = {"level": "basic", "python": [str(bare_venv), sys.base_prefix]}
    with zygote.spawn(python=str(bare_venv / "bin/python"), sandbox=profile) as executor:
        hello = executor.events.receive()
        if hello is None:
            pytest.skip(f"no sandbox here: {executor.read_stderr()}")
        code = "import os\ndef process(event): os.execv('/bin/true', ['true'])"
        executor.events.send("load", job(code))
        executor.events.expect("ready")
        assert executor.run_one()[4][0] == "PermissionError"
