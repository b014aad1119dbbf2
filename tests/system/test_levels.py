"""The same tests at the other levels of the sandbox, and as an ordinary user.

The suite runs at one level, `--sandbox-level`, and in CI as root. Here a part of it runs in a
process of its own for each of the others: what workers can do does not depend on the level.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "executors" / "hostile"))

from warden import ORDINARY_UID, can_be_ordinary, interpreter_for_others

HERE = Path(__file__).parent
RUN_S = 150
RUNS = {
    ("user", "full"): ("test_handlers", "test_limits", "test_crashes"),
    ("user", "basic"): ("test_handlers",),
    ("root", "full"): ("test_limits",),
    ("root", "uid"): ("test_limits",),
}
OF_OURSELVES = {"auto": "uid" if os.geteuid() == 0 else "full"}


@pytest.fixture
def folder():
    """A folder that an ordinary user can reach; pytest's are closed."""
    with tempfile.TemporaryDirectory(prefix="workmanager-levels-") as made:
        yield Path(made)


@pytest.mark.slow
@pytest.mark.timeout(RUN_S + 20)
@pytest.mark.parametrize(("who", "level"), RUNS, ids=map("-".join, RUNS))
def test_workers_do_the_same(folder, pytestconfig, who, level):
    own = pytestconfig.getoption("--sandbox-level")
    if who == "root" and level == OF_OURSELVES.get(own, own):
        pytest.skip("the whole suite runs at this level")
    command = _as_user(folder) if who == "user" else _as_root()
    command += ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--sandbox-level", level]
    command += ["--basetemp", str(folder / "tests")]
    command += [str(HERE / f"{module}.py") for module in RUNS[who, level]]
    ended = subprocess.run(
        command,
        cwd=HERE.parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]


def _as_root():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    return [sys.executable]


def _as_user(folder):
    """The command of an interpreter that an ordinary user runs, with what we import."""
    if os.geteuid() != 0:
        return [sys.executable]
    python = interpreter_for_others()
    if shutil.which("setpriv") is None or python is None or not can_be_ordinary():
        pytest.skip("an ordinary user cannot reach an interpreter or the tests")
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    theirs = "import sys; print('%d.%d' % sys.version_info[:2])"
    asked = subprocess.run([python, "-I", "-c", theirs], capture_output=True, text=True, check=True)
    if asked.stdout.strip() != ours:
        pytest.skip(f"what is installed for {ours} cannot be used by {python}")
    os.chown(folder, ORDINARY_UID, ORDINARY_UID)
    path = os.pathsep.join(entry for entry in sys.path if entry and "site-packages" in entry)
    ours = os.pathsep.join(str(HERE.parents[1] / name) for name in ("supervisor", "executors"))
    drop = ["setpriv", f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups"]
    environment = [f"HOME={folder}", f"TMPDIR={folder}", "PATH=/usr/bin:/bin"]
    environment += ["PYTHONDONTWRITEBYTECODE=1", f"PYTHONPATH={ours}{os.pathsep}{path}"]
    return [*drop, "--inh-caps=-all", "env", "-i", *environment, python]
