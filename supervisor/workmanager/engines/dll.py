"""The engine `text/x-dll`: one .NET assembly, or the folder of a `dotnet publish` as a zip."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import trio

from workmanager.engines import bundle, dotnet_common
from workmanager.engines.assemblies import kind_of
from workmanager.errors import CodeError, Fault
from workmanager.model.resources import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from workmanager.config import Settings
    from workmanager.engines.dotnet import Found
    from workmanager.engines.driver import Prepared, Workshop
    from workmanager.model.spec import WorkerSpec

MEDIA_TYPE = "text/x-dll"
ALIASES = ("application/x-dotnet-dll",)
MOST_INLINE_BYTES = 4 * 2**20  # what is larger goes by a folder, whose pages executors share

media_type = MEDIA_TYPE
_FILES = trio.CapacityLimiter(2)


def describe(settings: Settings) -> Engine:
    """Say which runtime runs assemblies here, or what is missing."""
    found = dotnet_common.find(settings)
    why_not = dotnet_common.missing_runtime(found)
    return Engine(
        media_type=MEDIA_TYPE,
        aliases=list(ALIASES),
        available=not why_not,
        detail=why_not or f"an assembly, or a zip of `dotnet publish`; .NET in {_root(found)}",
        runtime_version=f".NET {found.runtime.version}" if found.runtime else "",
    )


async def prepare(spec: WorkerSpec, code: bytes, workshop: Workshop) -> Prepared:
    """Check that *code* is managed; unpack a zip into the cache.

    Raises:
        CodeError: It is no assembly and no zip of them, or .NET is missing.
    """
    found = dotnet_common.find(workshop.settings)
    dotnet_common.demand(found, dotnet_common.missing_runtime(found))
    if not bundle.is_zip(code) and len(code) <= MOST_INLINE_BYTES:
        _check("code", code)
        return dotnet_common.prepared(spec, found, code=code)
    folder = await trio.to_thread.run_sync(_unpack, code, workshop.cache, limiter=_FILES)
    return dotnet_common.prepared(spec, found, folder=str(folder))


def _unpack(code: bytes, cache: Path) -> Path:
    folder = cache / "dll" / hashlib.sha256(code).hexdigest()
    if folder.is_dir():
        bundle.write({}, folder)
        return folder
    if bundle.is_zip(code):
        files = bundle.read(code)
        _check_some(files)
    else:
        _check("code", code)
        files = {"Worker.dll": code}
    bundle.write(files, folder)
    return folder


def _check_some(files: dict[str, bytes]) -> None:
    assemblies = [name for name in files if name.lower().endswith(".dll") and "/" not in name]
    if not assemblies:
        raise _refusal("code", "the zip has no .dll in its top folder; zip what publish made")
    kinds = {name: kind_of(files[name]) for name in assemblies}
    if "managed" not in kinds.values():
        raise _refusal(assemblies[0], "is no .NET assembly, and there is no other in the zip")


def _check(name: str, image: bytes) -> None:
    kind = kind_of(image)
    if kind == "native":
        raise _refusal(name, "holds native code only; a .NET assembly is needed")
    if kind == "other":
        raise _refusal(name, "is neither a .NET assembly nor a zip file, or it is damaged")


def _refusal(place: str, detail: str) -> CodeError:
    return CodeError(f"{place}: {detail}", faults=[Fault(place, detail)])


def _root(found: Found) -> str:
    return str(found.runtime.root) if found.runtime else "-"
