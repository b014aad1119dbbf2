"""How worker definitions lie in a shared state store. Pure: keys and bytes.

```
wm.index                  {"epoch": text, "rev": number, "workers": {uid: [name, stamp]}}
wm.worker.<uid>.<stamp>   a definition: the worker and its versions
wm.code.<uid>.<sha256>    the code of a version
```

The index is the only key that changes: a definition is written under a new stamp, then the index
names it, then the one before is deleted. So a change is seen whole or not at all, and a crash in
between leaves a record that nobody names, never a name without a record. The epoch is new whenever
an index is begun: a store that lost its data is told from workers that were deleted.

A value is JSON, since some stores keep nothing else: `{"parts": n, "data": base64 text}`, the parts
after the first, of 512 KiB each, under the key with `.1`, `.2`, ... appended.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field

from workmanager.errors import SidecarError
from workmanager.store.rows import VersionRow, WorkerRow

INDEX_KEY = "wm.index"
PART_BYTES = 512 * 1024  # raw; base64 makes 683 KiB of it, below the 1 MiB that most stores take
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where the definition of a worker is: its name, and the stamp of its newest record."""

    name: str
    stamp: str


@dataclass(frozen=True, slots=True)
class Index:
    """All workers by uid; without an epoch there is none yet."""

    epoch: str = ""
    rev: int = 0
    workers: dict[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Definition:
    """A worker as it is declared everywhere; its number and those of its versions are a host's."""

    worker: WorkerRow
    versions: tuple[VersionRow, ...]


def worker_key(uid: str, stamp: str) -> str:
    """Name the record of a worker under a stamp."""
    return f"wm.worker.{uid}.{stamp}"


def code_key(uid: str, digest: str) -> str:
    """Name the code of one of a worker's versions; `sha256:` is left out."""
    return f"wm.code.{uid}.{digest.rpartition(':')[2]}"


def encode_index(index: Index) -> bytes:
    """Return the index as it stands in the store."""
    workers = {uid: [place.name, place.stamp] for uid, place in index.workers.items()}
    return json.dumps({"epoch": index.epoch, "rev": index.rev, "workers": workers}).encode()


def decode_index(value: bytes) -> Index:
    """Read an index; that of nothing is empty.

    Raises:
        SidecarError: Something else stands there.
    """
    if not value:
        return Index()
    try:
        facts = json.loads(value)
        workers = {str(u): Place(str(n), str(s)) for u, (n, s) in facts["workers"].items()}
        return Index(str(facts["epoch"]), int(facts["rev"]), workers)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(INDEX_KEY, error) from error


def encode_definition(definition: Definition) -> bytes:
    """Return a definition as it is shared: without the numbers that each host has its own of."""
    worker = asdict(definition.worker)
    for name in ("no", "deleted_at", "stamp"):
        del worker[name]
    versions = [asdict(version) for version in definition.versions]
    for version in versions:
        del version["worker_no"]
    return json.dumps({"format": FORMAT, "worker": worker, "versions": versions}).encode()


def decode_definition(value: bytes, *, number: int, stamp: str) -> Definition:
    """Read a definition for a host on which the worker has this *number*.

    Raises:
        SidecarError: Something else stands there, or another release wrote it.
    """
    try:
        facts = json.loads(value)
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}; this release knows {FORMAT}")
        worker = WorkerRow(no=number, stamp=stamp, **facts["worker"])
        versions = tuple(VersionRow(worker_no=number, **version) for version in facts["versions"])
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable("a definition", error) from error
    return Definition(worker, versions)


def parts_of(key: str, content: bytes) -> dict[str, bytes]:
    """Cut *content* into entries of the store; the first, under *key* itself, comes last."""
    cuts = [content[at : at + PART_BYTES] for at in range(0, len(content), PART_BYTES)] or [b""]
    entries = {
        (part_key(key, number) if number else key): json.dumps(
            {"parts": len(cuts), "data": base64.b64encode(cut).decode()}
        ).encode()
        for number, cut in enumerate(cuts)
    }
    entries[key] = entries.pop(key)  # whoever finds it finds all of them
    return entries


def part_key(key: str, number: int) -> str:
    """Name a part after the first."""
    return f"{key}.{number}"


def read_part(key: str, value: bytes) -> tuple[int, bytes]:
    """Return how many parts there are in all, and the bytes of this one.

    Raises:
        SidecarError: Something else stands there.
    """
    try:
        facts = json.loads(value)
        return int(facts["parts"]), base64.b64decode(facts["data"], validate=True)
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable(key, error) from error


def _unreadable(what: str, error: Exception) -> SidecarError:
    return SidecarError(f"{what} of the registry cannot be read: {error}", code="DATA_LOSS")
