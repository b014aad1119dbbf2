"""What both .NET engines share: what is missing in words, the process's environment, LOAD."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.engines import dotnet
from workmanager.engines.driver import Prepared
from workmanager.errors import CodeError, Fault, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.config import Settings
    from workmanager.model.spec import WorkerSpec

LEAST_MEMORY_BYTES = (
    64 * 2**20
)  # CoreCLR takes about 20 MiB of its own before a worker does anything
COMPILER_BYTES = 2**30
HEAP_SHARE = 0.75  # of memoryMax: what .NET itself takes of a container's limit

EXTRA = "pip install 'workmanager[dotnet]'"
RUNTIME = "install the .NET runtime 8.0 or later (for instance the package dotnet-runtime-8.0)"
SDK = "install the .NET SDK 8.0 or later (for instance the package dotnet-sdk-8.0)"
SET_ROOT = "or name its folder in the setting dotnet_root"


def find(settings: Settings) -> dotnet.Found:
    """Look for .NET as the settings say."""
    return dotnet.find(settings.dotnet_root, settings.roslyn)


def missing_runtime(found: dotnet.Found, *, what: str = RUNTIME) -> str:
    """Say what is missing to run assemblies, and how to get it; "" if nothing is.

    Args:
        what: To install, where there is no .NET at all.
    """
    if found.runtime is None:
        return f"there is no .NET runtime 8.0 or later here; {what}, {SET_ROOT}"
    absent = [name for name in dotnet.LOADERS if name in found.missing]
    if absent:
        return f"the Python packages {', '.join(absent)} are missing; {EXTRA}"
    if found.bridge is None:
        return "WorkManager.Bridge.dll is missing from this installation; install it anew"
    return ""


def missing_compiler(found: dotnet.Found) -> str:
    """Say what is missing to compile C# and run it; "" if nothing is."""
    why_not = missing_runtime(found, what=SDK)
    if why_not:
        return why_not
    if found.compiler is None:
        return f"there is no C# compiler here; {SDK}, {SET_ROOT}"
    absent = [name for name in dotnet.COMPILER_LOADERS if name in found.missing]
    return f"the Python package pythonnet is missing; {EXTRA}" if absent else ""


def demand(found: dotnet.Found, why_not: str) -> None:
    """Refuse to go on where something is missing.

    Raises:
        CodeError: ENGINE_UNAVAILABLE.
    """
    if why_not or found.runtime is None:
        raise CodeError(why_not, reason=Reason.ENGINE_UNAVAILABLE)


def prepared(
    spec: WorkerSpec,
    found: dotnet.Found,
    *,
    code: bytes = b"",
    folder: str = "",
    assembly: str = "",
) -> Prepared:
    """Describe an executor for an assembly, given as bytes or in a folder.

    Args:
        assembly: Which one of the folder; "" to find out.

    Raises:
        CodeError: `resources.memoryMax` is too little for .NET.
    """
    assert found.runtime is not None  # noqa: S101 - see `demand`
    memory_bytes = spec.resources.memory_max_bytes
    if memory_bytes < LEAST_MEMORY_BYTES:
        pointer = "spec.resources.memoryMax"
        detail = f"is too little; .NET needs {LEAST_MEMORY_BYTES >> 20}Mi or more"
        raise CodeError(f"{pointer}: {detail}", faults=[Fault(pointer, detail)])
    fields: dict[str, object] = {
        "dotnet": {"root": str(found.runtime.root), "bridge": str(found.bridge)}
    }
    if folder:
        fields |= {"folder": folder, "assembly": assembly}
    return Prepared(
        code,
        kind="dotnet",
        fields=fields,
        environment=environment(memory_bytes),
        paths=paths(found, folder),
        packages=[str(place) for place in found.packages],
    )


def environment(memory_bytes: int) -> dict[str, str]:
    """Make the variables that CoreCLR reads before it runs anything."""
    return {
        # Hexadecimal, always. What is beyond it raises OutOfMemoryException in the worker.
        "DOTNET_GCHeapHardLimit": hex(int(memory_bytes * HEAP_SHARE)),
        "DOTNET_EnableDiagnostics": "0",  # else each killed process leaves pipes in the temp folder
        "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",  # without libicu it would not start at all
        "DOTNET_SYSTEM_GLOBALIZATION_PREDEFINED_CULTURES_ONLY": "0",
        "DOTNET_gcServer": "0",
    }


def paths(found: dotnet.Found, *more: str) -> Sequence[str]:
    """Return what a .NET process has to read."""
    assert found.runtime is not None  # noqa: S101 - as above
    own = (found.runtime.root, found.bridge, *found.packages)
    return [*map(str, own), *(path for path in more if path)]
