"""Workers with a virtual environment of their own, at every level: what is in it runs inside.

`.pth` files and sitecustomize are code that runs when an interpreter starts: here that is in the
sandbox, before the seal of `subprocess: deny` but never outside. Packages with C code come from the
package index, if it can be reached; else they are a counted skip.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

INSTALL_S = 60
PACKAGES = ("numpy", "orjson")
LEVELS = ["none", "basic", "full", "uid"]
# Runs at the start of the interpreter, with its working directory in the scratch.
STARTER = """
import os, sys
def attempt(path, flags):
    try:
        os.close(os.open(path, flags, 0o600))
        return "yes"
    except OSError as error:
        return type(error).__name__
sys.started = getattr(sys, "started", []) + [{
    "who": "WHO",
    "pid": os.getpid(),
    "write": attempt("OUTSIDE", os.O_CREAT | os.O_WRONLY),
    "secret": attempt("SECRET", os.O_RDONLY),
}]
"""
TELL = """
import os, sys
def process(event):
    try:
        os.execv("/bin/true", ["true"])
    except OSError as error:
        return {"started": sys.started, "exec": type(error).__name__, "prefix": sys.prefix}
"""
CRUNCH = """
import numpy, orjson
def process(event):
    matrix = numpy.arange(250_000, dtype=float).reshape(500, 500)
    product = matrix @ matrix.T
    text = orjson.dumps({"sum": float(product.trace()), "rows": numpy.arange(3)},
                        option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.loads(text)
"""


@pytest.fixture(scope="module")
def folder():
    """A place that every uid may read; pytest's own folders are closed."""
    with tempfile.TemporaryDirectory(prefix="workmanager-venv-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def environment(folder):
    """A bare virtual environment whose start runs code of the worker's owner."""
    made = folder / "venv"
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", str(made)], check=True)
    (folder / "secret").write_text("of the service")
    (folder / "secret").chmod(0o600)
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    [packages] = made.glob("lib/python3.*/site-packages")
    for name, who in (("sitecustomize.py", "sitecustomize"), ("by_pth.py", "pth")):
        text = STARTER.replace("WHO", who).replace("SECRET", str(folder / "secret"))
        (packages / name).write_text(text.replace("OUTSIDE", str(folder / "open" / who)))
    (packages / "starter.pth").write_text("import by_pth\n")
    return made


def shadowed():
    """What may not run at a start: Debian's own sitecustomize goes before any other it can see."""
    base = getattr(sys, "_base_executable", sys.executable)
    find = "importlib.util.find_spec('sitecustomize') is not None"
    ask = [base, "-c", f"import importlib.util, sys; sys.exit({find})"]
    return {"sitecustomize"} if subprocess.run(ask, check=False).returncode else set()


@pytest.mark.parametrize("level", LEVELS[1:])
def test_code_at_the_start_of_the_interpreter_runs_inside(lab, environment, folder, level):
    if level == "uid" and os.geteuid() != 0:
        pytest.skip("level uid needs root")
    python = str(environment / "bin" / "python")
    worker = lab.worker("a", TELL, python=python, isolation={"level": level})
    told = worker.invoke()["outputs"][0]["data"]
    assert told["prefix"] == str(environment)
    assert told["exec"] == "PermissionError"
    started = {found["who"] for found in told["started"]}
    assert started | shadowed() == {"pth", "sitecustomize"}
    for found in told["started"]:
        assert found["write"] != "yes", found
        assert found["secret"] != "yes", found
        assert level == "basic" or found["pid"] == 1
    assert list((folder / "open").iterdir()) == []


@pytest.fixture(scope="module")
def packages(folder):
    """An environment with numpy and orjson, as pip installs them."""
    made = folder / "packages"
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", str(made)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(made / "bin" / "python"), "install"]
    pip += ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    pip += ["--retries", "0", "--timeout", "10", *PACKAGES]
    try:
        ended = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip took more than {INSTALL_S} s")
    if ended.returncode:
        pytest.skip(f"pip cannot install {PACKAGES}: {ended.stderr.strip()[-200:]}")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_packages_with_c_code_work(lab, packages, level):
    if level == "uid" and os.geteuid() != 0:
        pytest.skip("level uid needs root")
    spec = {"python": str(packages / "bin" / "python"), "isolation": {"level": level}}
    worker = lab.worker("a", CRUNCH, timeouts={"startToClose": "60s"}, **spec)
    assert worker.invoke(timeoutS=60)["outputs"][0]["data"]["rows"] == [0, 1, 2]


def test_environment_that_breaks_at_its_start_is_a_refusal_of_the_worker(lab, environment):
    [site] = environment.glob("lib/python3.*/site-packages")
    broken = site / "sitecustomize.py"
    before = broken.read_text()
    broken.write_text("import os; os._exit(9)")
    try:
        python = str(environment / "bin" / "python")
        made = lab.manifest("b", TELL, python=python)
        answer = lab.client.post("/v1/workers", made, expect=(400, 409, 422))
        assert "exited with 9" in answer["detail"]
    finally:
        broken.write_text(before)
