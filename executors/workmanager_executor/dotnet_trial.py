"""Tries in a process of its own whether .NET starts: `python -m ... ROOT BRIDGE [ROSLYN]`.

A start that fails is often no exception but an abort of the process (no ICU, no libssl), so nobody
tries it in their own. With a third folder the compiler there is loaded, too. Prints one line of
JSON: {"detail": what runs}, or {"fault": why not}.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from workmanager_executor import dotnet_runtime


def main(folders: list[str]) -> int:
    """Start what is in *folders*, say what it is; returns the exit code."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        said = {"detail": _compiler(*folders) if len(folders) == 3 else _runtime(*folders)}
    except Exception as error:  # noqa: BLE001 - whatever .NET threw is the answer
        said = {"fault": f"{error}" or type(error).__name__}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    os._exit(0)  # without the end of CoreCLR


def _runtime(root: str, bridge: str) -> str:
    dotnet_runtime.load(root, bridge)
    return "starts, with the bridge"


def _compiler(root: str, bridge: str, folder: str) -> str:
    from workmanager_executor.dotnet_roslyn import Plan, Roslyn, Source

    roslyn = Roslyn(root, folder, os.path.join(bridge, dotnet_runtime.CONFIG))
    built = roslyn.compile(Plan("Trial", [Source("trial.cs", "public class Trial { }")]))
    if not built.image:
        raise RuntimeError(built.diagnostics[0].message)
    return f"Roslyn {roslyn.version} compiles"


if __name__ == "__main__":
    main(sys.argv[1:])
