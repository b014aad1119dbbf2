"""Reads manifests: YAML or JSON, several in a file, a folder of them, or standard input.

Two things are settled here, because only the client has the files: `code: {file: ./x.py}`, relative
to the manifest, becomes `code: {content: <base64>}`, and the engine follows from the file's suffix.
All else is checked by the service, which lists every fault.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.codefiles import ENGINES, code_of, engine_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Json = dict[str, Any]

MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")
MAX_MANIFEST_BYTES = 64 * 1024 * 1024  # room for code of 32 MiB in base64


@dataclass(frozen=True, slots=True)
class Manifest:
    """One worker's manifest: *origin* says where it stands, for messages."""

    name: str
    origin: str
    document: Json


def load_manifests(sources: Sequence[str]) -> list[Manifest]:
    """Read all manifests of files, folders and `-`.

    Raises:
        click.UsageError: Something cannot be read or is no manifest of a worker; all that is wrong
            is listed.
    """
    found: list[Manifest] = []
    faults: list[str] = []
    for source in sources:
        for origin, document, folder in _documents(source, faults):
            manifest = _manifest(origin, document, folder, faults)
            if manifest is not None:
                found.append(manifest)
    if not found and not faults:
        faults.append(f"{', '.join(sources)}: no manifest is in there")
    if faults:
        raise click.UsageError("\n  ".join(faults))
    return found


def _documents(source: str, faults: list[str]) -> Iterator[tuple[str, object, Path]]:
    """Yield origin, document and the folder that its paths are relative to."""
    for path in _files(source, faults):
        label = "standard input" if path is None else str(path)
        if path is not None and path.suffix in ENGINES:
            faults.append(f"{label}: is code; try: workmanager worker create NAME --code {label}")
            continue
        try:
            documents = parse_documents(_read(path))
        except (OSError, ValueError) as error:
            faults.append(f"{label}: {getattr(error, 'strerror', None) or error}")
            continue
        for number, document in enumerate(documents, 1):
            origin = label if len(documents) == 1 else f"{label}, document {number}"
            yield origin, document, Path() if path is None else path.parent


def _files(source: str, faults: list[str]) -> list[Path | None]:
    if source == "-":
        return [None]
    path = Path(source)
    if not path.is_dir():
        return [path]
    files = sorted(entry for entry in path.iterdir() if entry.suffix in MANIFEST_SUFFIXES)
    if not files:
        faults.append(f"{source}: the folder holds no {', '.join(MANIFEST_SUFFIXES)} file")
    return [*files]


def _read(path: Path | None) -> bytes:
    if path is None:
        return sys.stdin.buffer.read(MAX_MANIFEST_BYTES)
    with path.open("rb") as file:
        return file.read(MAX_MANIFEST_BYTES)


def parse_documents(text: bytes) -> list[object]:
    """Parse one JSON value or any number of YAML documents; empty documents are passed over.

    Raises:
        ValueError: It is neither; the message has line and column.
    """
    if text.lstrip().startswith(b"{"):
        try:
            return [json.loads(text)]
        except ValueError:
            pass  # YAML's flow style begins the same way
    from workmanager.cli.yaml_documents import load_documents

    return load_documents(text)


def _manifest(origin: str, document: object, folder: Path, faults: list[str]) -> Manifest | None:
    if not isinstance(document, dict):
        faults.append(f"{origin}: a manifest is a mapping (kind, metadata, spec)")
        return None
    if document.get("kind", "Worker") != "Worker":
        faults.append(f"{origin}: kind: {document['kind']!r} is not known; Worker is")
        return None
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        faults.append(f"{origin}: metadata.name: is required")
        return None
    try:
        return Manifest(name, origin, _with_code(document, folder))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        faults.append(f"{origin}: spec.code.file: {why}")
        return None


def _with_code(document: Json, folder: Path) -> Json:
    spec = document.get("spec")
    code = spec.get("code") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(code, dict) or "file" not in code:
        return document
    rest = {name: value for name, value in code.items() if name != "file"}
    if "content" in rest or "url" in rest:
        raise ValueError("give one of file, content and url")
    path = str(folder / str(code["file"]))
    engine = engine_of(path)
    defaults = {"engine": engine} if engine else {}
    return {**document, "spec": {**defaults, **spec, "code": {**rest, **code_of(path)}}}
