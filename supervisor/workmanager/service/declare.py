"""From a manifest to a durable declaration: code resolved, version named, rows made."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from workmanager.engines import registry as engines
from workmanager.engines.fetch import FetchOptions, fetch_code
from workmanager.errors import (
    CodeError,
    ConflictError,
    Fault,
    InvalidArgumentError,
    ManifestError,
    Reason,
)
from workmanager.lifecycle.record import WorkerRecord
from workmanager.model.code import put_code, take_code
from workmanager.model.states import VersionState
from workmanager.model.versioning import spec_digest
from workmanager.registries.layout import Definition
from workmanager.store import queries, statements
from workmanager.store.rows import VersionRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.config import Settings
    from workmanager.model.manifest import Manifest
    from workmanager.model.spec import WorkerSpec
    from workmanager.store.sql import Statement
    from workmanager.store.store import Store

VERSION_ID_CHARS = 12
VERSIONS_KEPT = 10


async def resolve(
    spec: WorkerSpec, store: Store, settings: Settings, *, known: WorkerSpec | None = None
) -> tuple[WorkerSpec, bytes | None]:
    """Find the code of *spec*: inline, in the store, or behind its URL.

    Args:
        known: The specification in force; its code is kept where *spec* names the same URL.

    Returns:
        The specification with the code's digest, and the code where it is new to the store.

    Raises:
        CodeError: It cannot be fetched, its digest differs, or nobody knows it.
        ManifestError: It asks for a lock that reaches further than this service does.
    """
    engines.require(spec.engine, settings)
    if not settings.is_dapr:
        _check_scope(spec)
    spec, content = take_code(spec)
    if content is not None:
        return spec, content
    if (
        known is not None
        and spec.code.url == known.code.url
        and (not spec.code.digest or spec.code.digest == known.code.digest)
    ):
        return spec.model_copy(update={"code": known.code}), None
    if spec.code.url:
        fetched = await fetch_code(
            spec.code.url,
            FetchOptions(
                max_bytes=settings.code_max_bytes,
                timeout_s=settings.fetch_timeout_s,
                allow_private=settings.allow_private_urls,
                allow_http=settings.allow_http_urls,
            ),
        )
        return put_code(spec, fetched.content), fetched.content
    body = await store.read(lambda db: queries.get_code(db, spec.code.digest))
    if body is None:
        detail = f"no code with digest {spec.code.digest} is known here; send content or a url"
        raise CodeError(
            f"spec.code.digest: {detail}",
            reason=Reason.CODE_FETCH_FAILED,
            faults=[Fault("spec.code.digest", detail)],
        )
    return spec, body


def new_record(manifest: Manifest, spec: WorkerSpec, number: int) -> WorkerRecord:
    """Make the record of a new worker; nothing of it is durable yet."""
    now = time.time()
    return WorkerRecord(
        no=number,
        uid=_uid_for(manifest.metadata.name),
        name=manifest.metadata.name,
        spec=spec,
        desired=spec.desired_state,
        generation=1,
        created_at=now,
        updated_at=now,
        labels=dict(manifest.metadata.labels),
        annotations=dict(manifest.metadata.annotations),
    )


def new_version(record: WorkerRecord, spec: WorkerSpec, size_bytes: int) -> VersionRow:
    """Make the row of the version that *spec* is; the same one where it exists already."""
    digest = spec_digest(spec)
    version_id = digest.removeprefix("sha256:")[:VERSION_ID_CHARS]
    old = record.versions.get(version_id)
    return VersionRow(
        worker_no=record.no,
        id=version_id,
        digest=digest,
        code_digest=spec.code.digest,
        engine=spec.engine,
        handler=spec.handler,
        spec=spec.model_dump(mode="json", by_alias=True),
        state=VersionState.BUILDING.value,
        size_bytes=size_bytes or (old.size_bytes if old else 0),
        created_at=old.created_at if old else time.time(),
        message="",
    )


def rows_of(
    record: WorkerRecord, versions: Sequence[VersionRow], code: bytes | None
) -> list[Statement]:
    """Return what makes a record, some of its versions and new code durable."""
    rows: list[Statement] = []
    if code is not None:
        rows += statements.put_code(record.spec.code.digest, code)
    rows += statements.put_worker(record.row())
    for version in versions:
        rows += statements.put_version(version)
    return rows


def definition_of(record: WorkerRecord) -> Definition:
    """Return what other hosts need of a worker; versions that were refused are this host's."""
    shared = [v for v in record.versions.values() if v.state != VersionState.REJECTED.value]
    return Definition(record.row(), tuple(shared))


def prune(record: WorkerRecord) -> list[Statement]:
    """Forget the oldest versions beyond the ten that are kept; returns their deletion."""
    spare = sorted(
        (v for v in record.versions.values() if v.id != record.current), key=lambda v: v.created_at
    )
    rows: list[Statement] = []
    for version in spare[: max(0, len(spare) + 1 - VERSIONS_KEPT)]:
        del record.versions[version.id]
        rows += statements.delete_version(version)
    return rows


def check_etag(record: WorkerRecord, if_match: str | None) -> None:
    """Compare an If-Match value with the record's.

    Raises:
        ConflictError: The worker has changed since it was read (ETAG_MISMATCH).
    """
    if if_match is None or if_match.strip() == "*":
        return
    if record.etag not in [tag.strip() for tag in if_match.split(",")]:
        raise ConflictError(
            f"worker {record.name!r} has changed: its ETag is {record.etag}, not {if_match};"
            " read it again and repeat the change",
            reason=Reason.ETAG_MISMATCH,
            metadata={"worker": record.name, "etag": record.etag},
        )


def check_same_name(record: WorkerRecord, manifest: Manifest) -> None:
    """Refuse a manifest that would rename a worker.

    Raises:
        InvalidArgumentError: The names differ.
    """
    if manifest.metadata.name != record.name:
        detail = f"must stay {record.name!r}; a worker cannot be renamed"
        raise InvalidArgumentError(
            f"metadata.name {detail}", faults=[Fault("metadata.name", detail)]
        )


def _check_scope(spec: WorkerSpec) -> None:
    """Refuse a group that excludes across hosts where nothing could hold its lock."""
    if spec.group is not None and spec.group.scope == "cluster":
        detail = (
            "'cluster' excludes across hosts by the lock of a Dapr sidecar; the embedded backend"
            " has none: use 'auto' or 'host', or serve with the Dapr backend"
        )
        raise ManifestError(
            f"spec.group.scope: {detail}", faults=[Fault("spec.group.scope", detail)]
        )


def _uid_for(name: str) -> str:
    """A worker without a name of its own is named by its GUID: the two are one then."""
    try:
        return str(uuid.UUID(name)) if str(uuid.UUID(name)) == name else str(uuid.uuid4())
    except ValueError:
        return str(uuid.uuid4())
