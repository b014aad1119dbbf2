"""What the doctor says of .NET: what was found, where it was looked for, and whether it starts.

    {"ok", "engines": [...], "runtime", "compiler", "bridge", "packages": [...], "looked": [...],
     "trials": [...]}

No service has to run. What is found is also started, in processes that end at once: libraries that
the runtime needs of the host are missed nowhere else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import workmanager_executor
from workmanager.engines import csharp, dll, dotnet, dotnet_common

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workmanager.config import Settings
    from workmanager.engines.dotnet import Found

PACKAGES = ("clr_loader", "cffi", "pythonnet")
TRIAL = "workmanager_executor.dotnet_trial"
TRIAL_S = 30.0
SAID_CHARS = 500

Json = dict[str, Any]


def examine(settings: Settings) -> Json:
    """Look for .NET as the settings say and try what is found; takes about a second."""
    found = dotnet_common.find(settings)
    engines = [driver.describe(settings) for driver in (csharp, dll)]
    trials = list(_trials(found))
    return {
        "ok": all(one.available for one in engines) and all(one["ok"] for one in trials),
        "engines": [
            {
                "mediaType": one.media_type,
                "available": one.available,
                "runtimeVersion": one.runtime_version,
                "detail": one.detail,
            }
            for one in engines
        ],
        "runtime": found.runtime
        and {"root": str(found.runtime.root), "version": found.runtime.version},
        "compiler": found.compiler
        and {"folder": str(found.compiler.folder), "version": found.compiler.version},
        "bridge": found.bridge and str(found.bridge),
        "packages": [{"name": name, "version": _version(name)} for name in PACKAGES],
        "looked": [{"folder": str(root), "found": _content(root)} for root in found.looked],
        "trials": trials,
    }


def _trials(found: Found) -> Iterator[Json]:
    """Start what can be started."""
    if dotnet_common.missing_runtime(found):
        return
    assert found.runtime is not None  # noqa: S101 - nothing is missing
    folders = [str(found.runtime.root), str(found.bridge)]
    yield {"name": "runtime", **_try(folders)}
    if not dotnet_common.missing_compiler(found):
        assert found.compiler is not None  # noqa: S101 - likewise
        yield {"name": "compiler", **_try([*folders, str(found.compiler.folder)])}


def _try(folders: list[str]) -> Json:
    try:
        done = subprocess.run(
            [sys.executable, "-m", TRIAL, *folders],
            env={**_own_environment(), **dotnet_common.environment(dotnet_common.COMPILER_BYTES)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"ok": False, "detail": f"was not there within {TRIAL_S:g} s"}
    try:
        said = json.loads(done.stdout.splitlines()[-1])
        return {"ok": "detail" in said, "detail": said.get("detail") or said["fault"]}
    except (ValueError, IndexError):  # it was ended: what it wrote is all there is
        words = " ".join(done.stderr.decode("utf-8", "replace").split())[:SAID_CHARS]
        return {"ok": False, "detail": f"ended with code {done.returncode}: {words}"}


def _own_environment() -> dict[str, str]:
    """Make this installation importable in a process like this one."""
    package = str(Path(workmanager_executor.__file__).parent.parent)
    folders = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(folders)}


def _content(root: Path) -> str:
    """Say what is in a folder where .NET was looked for; "" for none of it."""
    if not root.is_dir():
        return ""
    newest = dotnet.newest_runtime(root)
    if newest is not None:
        return f".NET {newest.version}"
    older = sorted(folder.name for folder in root.glob(f"shared/{dotnet.FRAMEWORK}/*"))
    return f"runtime {older[-1]}, which is too old or not whole" if older else "no runtime"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
