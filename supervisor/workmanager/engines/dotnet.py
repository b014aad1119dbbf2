"""Finding .NET: the runtime, the compiler, and the Python packages that load them.

A .NET installation ("root") holds `host/fxr/<version>/libhostfxr.so`, the runtimes under
`shared/Microsoft.NETCore.App/<version>`, and with an SDK the compiler under
`sdk/<version>/Roslyn/bincore`. Nothing is started to find that out. The newest runtime is the one
that runs: the bridge asks for 8.0 and rolls forward.

Source: dotnet/designs, "install-locations": DOTNET_ROOT, PATH, /etc/dotnet/install_location.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import workmanager_executor

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = (8, 0)
FRAMEWORK = "Microsoft.NETCore.App"
BRIDGE = "WorkManager.Bridge.dll"
COMPILER = "Microsoft.CodeAnalysis.CSharp.dll"
LOADERS = ("clr_loader", "cffi", "_cffi_backend", "pycparser")
COMPILER_LOADERS = ("pythonnet", "clr")
COMMON = (
    *("/usr/lib/dotnet", "/usr/share/dotnet", "/usr/lib64/dotnet", "/usr/local/share/dotnet"),
    *("/usr/local/lib/dotnet", "/opt/dotnet", "/snap/dotnet-sdk/current", "~/.dotnet"),
)
LOCATION_FILES = ("/etc/dotnet/install_location_x64", "/etc/dotnet/install_location")

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(-.*)?")
_PRODUCT_VERSION = "ProductVersion".encode("utf-16-le")

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Runtime:
    """A .NET runtime.

    Attributes:
        root: The installation's folder.
        version: As .NET writes it, such as "9.0.7".
    """

    root: Path
    version: str


@dataclass(frozen=True, slots=True)
class Compiler:
    """The C# compiler's assemblies.

    Attributes:
        folder: Where they are.
        version: Their file version, such as "4.8.0"; "" where they do not say.
    """

    folder: Path
    version: str


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of .NET here.

    Attributes:
        bridge: Folder of our own assemblies.
        packages: Folders that hold the Python packages an executor imports.
        missing: Python packages that are not installed.
        looked: Where an installation was looked for.
    """

    runtime: Runtime | None
    compiler: Compiler | None
    bridge: Path | None
    packages: tuple[Path, ...]
    missing: tuple[str, ...]
    looked: tuple[Path, ...]


def find(root: Path | None = None, roslyn: Path | None = None) -> Found:
    """Look for .NET.

    Args:
        root: Use this installation and no other.
        roslyn: Use the compiler in this folder.
    """
    roots = [root] if root is not None else list(dict.fromkeys(_roots()))
    runtimes = [runtime for candidate in roots if (runtime := newest_runtime(candidate))]
    runtime = max(runtimes, key=lambda one: _version(one.version), default=None)
    folders = [_absolute(roslyn)] if roslyn is not None else _compiler_folders(roots, runtime)
    compilers = [
        Compiler(f, product_version(f / COMPILER)) for f in folders if (f / COMPILER).exists()
    ]
    present, missing = _packages()
    return Found(
        runtime=runtime,
        compiler=compilers[0] if compilers else None,
        bridge=bridge_folder(),
        packages=present,
        missing=missing,
        looked=tuple(roots),
    )


def newest_runtime(root: Path) -> Runtime | None:
    """Return the newest runtime of an installation that is new enough; None if there is none.

    A preview counts only where there is no release, as .NET itself has it.
    """
    if not any(root.glob("host/fxr/*/libhostfxr.so")):
        return None
    names = [
        folder.name
        for folder in root.glob(f"shared/{FRAMEWORK}/*")
        if _version(folder.name)[:2] >= OLDEST and (folder / "libcoreclr.so").is_file()
    ]
    released = [name for name in names if "-" not in name]
    newest = max(released or names, key=_version, default=None)
    return Runtime(_absolute(root), newest) if newest else None


def bridge_folder() -> Path | None:
    """Return the folder of the bridge: inside of the package, or beside it in the source tree."""
    package = Path(workmanager_executor.__file__).parent
    for folder in (package / "dotnet_bin", package.parent / "dotnet" / "bin"):
        if (folder / BRIDGE).is_file():
            return folder
    return None


def product_version(path: Path) -> str:
    """Read the product version in the resources of an assembly; "" if it has none."""
    try:
        return _product_version(path, path.stat().st_mtime_ns)
    except OSError:
        return ""


@lru_cache(maxsize=16)
def _product_version(path: Path, _modified_ns: int) -> str:
    body = path.read_bytes()
    at = body.rfind(_PRODUCT_VERSION)
    if at < 0:
        return ""
    text = body[at + len(_PRODUCT_VERSION) : at + len(_PRODUCT_VERSION) + 80].decode(
        "utf-16-le", "ignore"
    )
    found = re.search(r"\d+\.\d+\.\d+", text)
    return found[0] if found else ""


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _roots() -> Iterator[Path]:
    for name in ("DOTNET_ROOT", "DOTNET_ROOT_X64"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    command = shutil.which("dotnet")
    if command is not None:
        yield Path(command).resolve().parent
    for file in map(Path, LOCATION_FILES):
        if file.is_file():
            yield Path(file.read_text(encoding="utf-8").strip())
    for folder in COMMON:
        yield Path(folder).expanduser()


def _compiler_folders(roots: list[Path], runtime: Runtime | None) -> list[Path]:
    """Return the compilers of the SDKs that *runtime* can run, newest first.

    The same SDK's compiler targets one .NET in the tarball and a later one in a distribution's
    package (dotnet/sdk 51946), so what it says is read instead of inferred from its version.
    """
    if runtime is None:
        return []
    folders = [folder for root in roots for folder in root.glob("sdk/*/Roslyn/bincore")]
    fitting = [folder for folder in folders if _needs(folder) <= _version(runtime.version)]
    return sorted(fitting, key=lambda folder: _version(folder.parents[1].name), reverse=True)


def _needs(folder: Path) -> Version:
    """Return the version of .NET that the compiler in *folder* is made for; 0 if it is silent."""
    try:
        text = (folder / "csc.runtimeconfig.json").read_text(encoding="utf-8-sig")
        said = json.loads(text)["runtimeOptions"]["framework"]["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return (0, 0, 0)
    return _version(str(said))


def _version(text: str) -> Version:
    found = _VERSION.match(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)


def _packages() -> tuple[tuple[Path, ...], tuple[str, ...]]:
    folders: dict[Path, None] = {}
    missing: list[str] = []
    for name in (*LOADERS, *COMPILER_LOADERS):
        folder = _folder_of(name)
        if folder is None:
            missing.append(name)
        else:
            folders[folder] = None
    return tuple(folders), tuple(missing)


def _folder_of(name: str) -> Path | None:
    """Return the folder to put on `sys.path` for a module; None if it is not installed."""
    if name in sys.builtin_module_names:
        return None
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent
    return place.parent if spec.submodule_search_locations else place
