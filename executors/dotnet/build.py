"""Builds the bridge: `python executors/dotnet/build.py` writes the assemblies in `bin`.

They are checked in, so that a host needs the .NET runtime only. The build is deterministic: the
same sources, compiler and reference assemblies give the same bytes, and a test repeats it and
compares. The reference assemblies are those of .NET Core 3.1, the smallest surface: what is built
against them is loaded by every runtime since, of which 8 and later are supported.
"""
# ruff: noqa: INP001 - a script; nothing imports from this folder

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List

if TYPE_CHECKING:
    from workmanager_executor.dotnet_roslyn import Roslyn, Source

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
TARGET = HERE / "bin"
ABSTRACTIONS = "WorkManager.Abstractions"
BRIDGE = "WorkManager.Bridge"
CONFIG = TARGET / f"{BRIDGE}.runtimeconfig.json"
ENVIRONMENT = {"DOTNET_EnableDiagnostics": "0", "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}


class BuildError(Exception):
    """The sources do not compile; the message holds the diagnostics, warnings included."""


def build(dotnet_root: Path, roslyn_folder: Path, references: Path) -> Dict[str, bytes]:
    """Compile both assemblies; returns them by name. Loads .NET into this process, for good.

    Raises:
        BuildError: There is an error or a warning.
    """
    os.environ.update(ENVIRONMENT)
    module = importlib.import_module("workmanager_executor.dotnet_roslyn")
    roslyn: Roslyn = module.Roslyn(str(dotnet_root), str(roslyn_folder), str(CONFIG))
    surface = sorted(str(path) for path in references.glob("*.dll"))
    abstractions = _compile(roslyn, ABSTRACTIONS, "abstractions", surface, [])
    bridge = _compile(roslyn, BRIDGE, "bridge", surface, [abstractions])
    return {ABSTRACTIONS: abstractions, BRIDGE: bridge}


def _compile(
    roslyn: Roslyn, name: str, folder: str, references: List[str], images: List[bytes]
) -> bytes:
    plan = importlib.import_module("workmanager_executor.dotnet_roslyn").Plan(
        name=name,
        sources=_sources(folder),
        references=references,
        images=images,
        platform=False,
        allow_unsafe=True,
    )
    built = roslyn.compile(plan)
    if built.diagnostics:
        lines = (f"{d.file}({d.line},{d.column}): {d.code}: {d.message}" for d in built.diagnostics)
        raise BuildError("\n".join(lines))
    return built.image


def _sources(folder: str) -> List[Source]:
    source = importlib.import_module("workmanager_executor.dotnet_roslyn").Source
    paths = sorted((HERE / folder).glob("*.cs"))
    return [source(f"{folder}/{path.name}", path.read_text(encoding="utf-8")) for path in paths]


def main() -> None:
    """Build with the .NET of the tests and write what has changed."""
    sys.path[:0] = [str(REPOSITORY / name) for name in ("executors", "supervisor", "tests")]
    fixture = importlib.import_module("dotnet_fixture")
    built = build(fixture.runtime(), fixture.roslyn(), fixture.references())
    for name, image in built.items():
        path = TARGET / f"{name}.dll"
        if not path.is_file() or path.read_bytes() != image:
            path.write_bytes(image)
            sys.stderr.write(f"{path.relative_to(REPOSITORY)}: {len(image)} bytes, new\n")


if __name__ == "__main__":
    main()
