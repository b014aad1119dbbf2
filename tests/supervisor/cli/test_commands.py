"""Parts of commands that need no service: goals of `wait`, guards of dead letters, completion."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from workmanager.cli.commands.task import STATUSES
from workmanager.cli.commands.worker_wait import is_reached, state_of
from workmanager.cli.root import root
from workmanager.model.states import TaskStatus

HEAVY = ("pydantic", "trio", "rich", "yaml", "httpx2", "fastapi", "msgpack", "http.client")


def worker(state, **counts):
    return {"name": "a", "status": {"state": state, **counts}}


@pytest.mark.parametrize(
    ("found", "goal", "expected"),
    [
        (worker("RUNNING"), "running", True),
        (worker("STARTING"), "running", False),
        (None, "running", False),
        (worker("STOPPED"), "stopped", True),
        (worker("DRAINING"), "stopped", False),
        (None, "deleted", True),
        (worker("DELETING"), "deleted", False),
        (worker("RUNNING", backlog=0, inFlight=0, delayed=0), "idle", True),
        (worker("RUNNING", backlog=1), "idle", False),
        (worker("RUNNING", inFlight=1), "idle", False),
        (worker("RUNNING", delayed=1), "idle", False),
    ],
)
def test_goals_of_wait(found, goal, expected):
    assert is_reached(found, goal) is expected


def test_state_is_told_with_what_is_left_to_do():
    assert state_of(worker("DRAINING", backlog=3, inFlight=1)) == "DRAINING, 3 waiting, 1 running"
    assert state_of(None) == "not there"


@pytest.mark.parametrize("verb", ["redrive", "purge"])
@pytest.mark.parametrize("words", [[], ["d1", "--all"], ["d1", "--worker", "a"]])
def test_dead_letters_are_not_taken_by_accident(verb, words):
    result = CliRunner().invoke(root, ["dead-letter", verb, *words])
    assert result.exit_code == 2
    assert "ids, or filters, or --all" in result.output


def test_purge_without_a_terminal_needs_yes():
    result = CliRunner().invoke(root, ["dead-letter", "purge", "--all"])
    assert result.exit_code == 2
    assert "--yes" in result.output


def test_task_statuses_are_those_of_the_service():
    assert list(STATUSES) == [status.value for status in TaskStatus]


def test_unreadable_target_and_token_file_are_usage():
    assert CliRunner().invoke(root, ["--target", "ftp://x", "worker", "list"]).exit_code == 2
    words = ["--token-file", "/none/such", "worker", "list"]
    assert CliRunner().invoke(root, words).exit_code == 2


def test_global_options_are_taken_before_and_behind_the_command():
    before = CliRunner().invoke(root, ["--target", "/none.sock", "worker", "list"])
    behind = CliRunner().invoke(root, ["worker", "list", "--target", "/none.sock"])
    assert before.exit_code == behind.exit_code == 5
    assert "/none.sock" in before.stderr
    assert before.stderr == behind.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_serves_both_names_of_the_command(shell):
    result = CliRunner().invoke(root, ["completion", shell])
    assert result.exit_code == 0
    assert "workmanager" in result.stdout.splitlines()[-1]
    assert "wm" in result.stdout.splitlines()[-1].split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.slow
def test_completion_script_is_sound_bash():
    script = CliRunner().invoke(root, ["completion", "bash"]).stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def complete(*words):
    environ = os.environ | {
        "_WORKMANAGER_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["workmanager", *words]),
        "COMP_CWORD": str(len(words)),
        "WORKMANAGER_TARGET": "/none.sock",
    }
    found = python("from workmanager.cli import main; main()", environ)
    return [line.partition(",")[2] for line in found.splitlines() if line]


def python(code, environ=None):
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.slow
def test_commands_complete_and_names_stay_silent_without_a_service():
    assert complete("worker", "st") == ["start", "stop"]
    assert complete("worker", "list", "--out") == ["--output"]
    assert complete("worker", "get", "") == []


@pytest.mark.slow
def test_nothing_heavy_is_imported_before_the_work():
    """A command has 100 ms before its work: pydantic alone would take more."""
    code = (
        "import sys, contextlib\n"
        "from workmanager.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main(['--target', '/none.sock', 'worker', 'start', 'a'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert python(code).strip() == "[]"
