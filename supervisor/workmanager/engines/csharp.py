"""The engine `text/x-csharp`: C# source, compiled by Roslyn when a version is first started.

The code is one file, or a zip of source files and of assemblies that they use. The outcome is kept
in the cache under a key of everything that it depends on, so a restart, a second executor or a
rollback compile nothing.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
import trio

from workmanager.engines import bundle, dotnet_common
from workmanager.engines.assemblies import kind_of
from workmanager.errors import CodeError, Fault
from workmanager.model.resources import Engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workmanager.config import Settings
    from workmanager.engines.dotnet import Found
    from workmanager.engines.driver import Prepared, Workshop
    from workmanager.model.spec import WorkerSpec

MEDIA_TYPE = "text/x-csharp"
FILE_NAME = "worker.cs"  # of a single file, in diagnostics and stack traces
ASSEMBLY = "Worker"
MAX_SOURCE_BYTES = 4 * 2**20
MAX_REFERENCE_BYTES = 11 * 2**20  # together with the sources in one frame of 16 MiB
USINGS = (  # those of a console project, and what a worker uses
    *("System", "System.Collections.Generic", "System.IO", "System.Linq", "System.Net.Http"),
    *("System.Runtime.CompilerServices", "System.Text.Json", "System.Threading"),
    *("System.Threading.Tasks", "WorkManager"),
)

_FORMAT = "csharp 1"  # part of the key: another way to compile makes other assemblies
_REFERENCE = re.compile(r'^[ \t]*#r[ \t]+"([^"]+)"[ \t]*$', re.MULTILINE)

media_type = MEDIA_TYPE
_FILES = trio.CapacityLimiter(2)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Project:
    """What is compiled: texts by file name, and the assemblies they use by theirs."""

    sources: dict[str, str]
    references: dict[str, bytes] = field(default_factory=dict)


def describe(settings: Settings) -> Engine:
    """Say which compiler and runtime there are, or what is missing."""
    found = dotnet_common.find(settings)
    why_not = dotnet_common.missing_compiler(found)
    version = f".NET {found.runtime.version}" if found.runtime else ""
    if found.compiler is not None:
        version = f"{version}, Roslyn {found.compiler.version or '?'}".removeprefix(", ")
    where = found.compiler.folder if found.compiler else "-"
    return Engine(
        media_type=MEDIA_TYPE,
        aliases=[],
        available=not why_not,
        detail=why_not or f"a file, or a zip of files; compiled with Roslyn in {where}",
        runtime_version=version,
    )


async def prepare(spec: WorkerSpec, code: bytes, workshop: Workshop) -> Prepared:
    """Compile *code*, unless that has been done before.

    Raises:
        CodeError: It does not compile: one fault per error, with file, line and column.
    """
    found = dotnet_common.find(workshop.settings)
    dotnet_common.demand(found, dotnet_common.missing_compiler(found))
    folder = workshop.cache / "csharp" / _key(code, found)
    if not await trio.to_thread.run_sync(folder.is_dir, limiter=_FILES):
        project = await trio.to_thread.run_sync(parse, code, limiter=_FILES)
        image = await _compile(project, found, workshop)
        files = {f"{ASSEMBLY}.dll": image, **project.references}
        await trio.to_thread.run_sync(bundle.write, files, folder, limiter=_FILES)
    else:
        await trio.to_thread.run_sync(bundle.write, {}, folder, limiter=_FILES)
    return dotnet_common.prepared(spec, found, folder=str(folder), assembly=ASSEMBLY)


def parse(code: bytes) -> Project:
    """Take the upload apart.

    Raises:
        CodeError: It is no text, too large, or a reference is not in it.
    """
    files = bundle.read(code) if bundle.is_zip(code) else {FILE_NAME: code}
    sources = {n: _text(n, body) for n, body in sorted(files.items()) if n.endswith(".cs")}
    references = {
        name.rpartition("/")[2]: body
        for name, body in files.items()
        if name.lower().endswith(".dll") and kind_of(body) == "managed"
    }
    if not sources:
        raise _refusal("code", "the zip has no .cs file")
    _check_size("source files", [len(text) for text in sources.values()], MAX_SOURCE_BYTES)
    _check_size("assemblies", map(len, references.values()), MAX_REFERENCE_BYTES)
    return Project({n: _resolve(n, text, references) for n, text in sources.items()}, references)


async def _compile(project: Project, found: Found, workshop: Workshop) -> bytes:
    assert found.runtime is not None  # noqa: S101 - demanded by the caller
    assert found.compiler is not None  # noqa: S101 - likewise
    where = {
        "root": str(found.runtime.root),
        "roslyn": str(found.compiler.folder),
        "bridge": str(found.bridge),
    }
    request = {
        "name": ASSEMBLY,
        "sources": [[name, text] for name, text in project.sources.items()],
        "references": list(project.references.values()),
        "usings": list(USINGS),
    }
    answer = await workshop.compile(where, request)
    image, diagnostics = answer.get("image"), answer.get("diagnostics") or []
    if not isinstance(image, bytes) or not image:
        raise _failed([_fault(row) for row in diagnostics if row[5]])
    log.info("compiled", bytes=len(image), warnings=len(diagnostics))
    return image


def _key(code: bytes, found: Found) -> str:
    """Name the outcome by all it depends on."""
    assert found.runtime is not None  # noqa: S101 - demanded by the caller
    assert found.compiler is not None  # noqa: S101 - likewise
    assert found.bridge is not None  # noqa: S101 - likewise
    own = (found.bridge / "WorkManager.Abstractions.dll").read_bytes()
    facts = (_FORMAT, found.runtime.version, str(found.compiler.folder), found.compiler.version)
    parts = [*(fact.encode() for fact in facts), hashlib.sha256(own).digest(), code]
    key = hashlib.sha256()
    for part in parts:
        key.update(len(part).to_bytes(8, "big") + part)
    return key.hexdigest()


def _text(name: str, body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refusal(name, f"is not UTF-8: {error.reason} at byte {error.start}") from error


def _resolve(name: str, text: str, references: Mapping[str, bytes]) -> str:
    """Take `#r "Name.dll"` lines out, as scripts have them; the lines below keep their numbers."""
    for found in _REFERENCE.finditer(text):
        why_not = _why_not(found[1], references)
        if why_not:
            line = text.count("\n", 0, found.start()) + 1
            raise _refusal(f"{name}:{line}", f"{found[1]} {why_not}")
    return _REFERENCE.sub("", text)


def _why_not(reference: str, references: Mapping[str, bytes]) -> str:
    """Say why a reference cannot be had; "" if it can, or the compiler will say."""
    if reference.startswith("nuget:"):
        return "is a package, and none are fetched; zip its assembly beside the code"
    file = reference.rpartition("/")[2]
    if file.startswith(("System.", "Microsoft.")):  # of the runtime, which is always referenced
        return ""
    is_uploaded = file in references or f"{file}.dll" in references
    return "" if is_uploaded else "is not in the upload; zip it beside the code"


def _check_size(what: str, sizes: Sequence[int] | map[int], limit_bytes: int) -> None:
    total = sum(sizes)
    if total > limit_bytes:
        raise _refusal("code", f"{what} of {total} bytes; {limit_bytes} are allowed")


def _fault(row: Sequence[Any]) -> Fault:
    file, line, column, code, message, _ = row
    place = f"{file}:{line}:{column}" if line else (str(file) or "code")
    return Fault(place, f"{code}: {message}")


def _failed(faults: Sequence[Fault]) -> CodeError:
    if not faults:
        return CodeError("the compiler gave no assembly, and no reason")
    first, more = faults[0], len(faults) - 1
    rest = f" (and {more} more)" if more else ""
    return CodeError(f"{first.pointer}: {first.detail}{rest}", faults=faults)


def _refusal(place: str, detail: str) -> CodeError:
    return CodeError(f"{place}: {detail}", faults=[Fault(place, detail)])
