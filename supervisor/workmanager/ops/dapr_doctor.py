"""What `workmanager doctor --dapr` finds: the sidecar, its components, and what it can do.

Everything is tried on the sidecar itself, with keys and a lock that go away: whether an API is
there, whether a first write is one, whether a lock excludes. No topic is touched.
"""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio
import yaml
from dapr.proto.runtime.v1 import metadata_pb2, pubsub_pb2

from workmanager.errors import SidecarError
from workmanager.ops.dapr_files import Check, check_files
from workmanager.sidecar.address import find_address
from workmanager.sidecar.connection import Sidecar
from workmanager.sidecar.stores import SidecarLocks, SidecarState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from workmanager.config import Settings

LOOK_S = 5.0  # within which a sidecar that is there answers
KEY_S = 60  # after which a key that was left behind goes
LEAST = (1, 14)  # has streaming subscriptions
ADVISED = (1, 18)  # is what this was tried with
EXAMPLES = "see docs/examples/dapr"


def examine(settings: Settings, resources: Path | None = None) -> list[Check]:
    """Look at the sidecar that *settings* and the environment name, and at files of *resources*."""
    return trio.run(_examine, settings, resources, dict(os.environ))


async def _examine(
    settings: Settings, resources: Path | None, environ: Mapping[str, str]
) -> list[Check]:
    address = find_address(settings.dapr_grpc_address, environ, ca=settings.dapr_tls_ca)
    sidecar = Sidecar(address)
    async with trio.open_nursery() as nursery:
        await nursery.start(sidecar.run)
        with trio.move_on_after(LOOK_S):
            await sidecar.wait_up()
        if sidecar.is_up:
            found = [check async for check in _live(sidecar, settings)]
            app_id = sidecar.metadata.id
        else:
            found = [_absent(address.target, sidecar.last_error)]
            app_id = environ.get("APP_ID", "")
        nursery.cancel_scope.cancel()
    if resources is not None:
        found += _of_files(resources, settings, app_id)
    return found


def _absent(target: str, why: str) -> Check:
    if "UNAUTHENTICATED" in why:
        mend = "put the sidecar's token into DAPR_API_TOKEN"
    else:
        mend = "start it (`dapr run --app-id workmanager -- ...`), or set dapr_grpc_address"
    return Check("sidecar", "failed", f"{target}: {why}", mend)


async def _live(sidecar: Sidecar, settings: Settings) -> AsyncIterator[Check]:
    metadata = sidecar.metadata
    yield _version(metadata.runtime_version, metadata.id)
    kinds = {each.name: each.type for each in metadata.registered_components}
    capabilities = {each.name: set(each.capabilities) for each in metadata.registered_components}
    pubsub, store, locks = (
        settings.dapr_pubsub,
        settings.dapr_state_store,
        settings.dapr_lock_store,
    )
    yield _pubsub(pubsub, kinds)
    if pubsub in kinds:
        yield await _bulk(sidecar)
    yield _store(store, kinds, capabilities)
    if kinds.get(store, "").startswith("state."):
        yield await _first_write(sidecar, store)
    if kinds.get(locks, "").startswith("lock."):
        yield await _lock(sidecar, locks)
    else:
        words = f"no lock component {locks!r}: groups exclude within a host only"
        yield Check("locks", "warning", words, f"add lock.redis for groups of hosts; {EXAMPLES}")
    for each in metadata.subscriptions:
        if each.pubsub_name == pubsub and each.type != metadata_pb2.STREAMING:
            words = f"topic {each.topic!r} is subscribed to beside the streams, and goes there"
            yield Check("subscriptions", "failed", words, "remove that subscription")


def _version(version: str, app_id: str) -> Check:
    words = f"daprd {version or 'of unknown version'}, app-id {app_id!r}"
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return Check("sidecar", "ok", words)
    if (major, minor) < LEAST:
        return Check("sidecar", "failed", words, "streaming subscriptions need Dapr 1.14")
    if (major, minor) < ADVISED:
        return Check("sidecar", "warning", words, "1.18 is what WorkManager is tried with")
    return Check("sidecar", "ok", words)


def _pubsub(name: str, kinds: Mapping[str, str]) -> Check:
    kind = kinds.get(name, "")
    if not kind.startswith("pubsub."):
        return Check("pubsub", "failed", f"no pubsub component {name!r}", f"add one; {EXAMPLES}")
    if kind == "pubsub.in-memory":
        words = f"{name} is {kind}: what is in it ends with the sidecar, no other host sees it"
        return Check("pubsub", "warning", words, "take a broker for anything but trying out")
    return Check("pubsub", "ok", f"{name} is {kind}")


def _store(name: str, kinds: Mapping[str, str], capabilities: Mapping[str, set[str]]) -> Check:
    kind = kinds.get(name, "")
    if not kind.startswith("state."):
        return Check("state", "failed", f"no state component {name!r}", f"add one; {EXAMPLES}")
    if "ETAG" not in capabilities[name]:
        words = f"{name} is {kind}, without etags: hosts overwrite each other's workers"
        return Check("state", "failed", words, "take a store with etags (redis, postgresql, ...)")
    if kind == "state.in-memory":
        words = f"{name} is {kind}: definitions of workers end with the sidecar"
        return Check("state", "warning", words, "take a store that keeps them")
    return Check("state", "ok", f"{name} is {kind}")


async def _bulk(sidecar: Sidecar) -> Check:
    """Whether there is bulk publishing: a call without a component's name tells."""
    for method in ("BulkPublishEvent", "BulkPublishEventAlpha1"):
        try:
            await sidecar.call(
                method, pubsub_pb2.BulkPublishRequest(), pubsub_pb2.BulkPublishResponse
            )
        except SidecarError as error:
            if error.code == "UNIMPLEMENTED":
                continue
        return Check("bulk publish", "ok", f"{method} is there")
    words = "the sidecar has none: events are published one by one"
    return Check("bulk publish", "warning", words, "take Dapr 1.10 or newer")


async def _first_write(sidecar: Sidecar, store: str) -> Check:
    state, key = SidecarState(sidecar, store), f"wm.doctor.{uuid.uuid4()}"
    try:
        is_new = await state.put(key, b"1", etag="", ttl_s=KEY_S)
        is_twice = await state.put(key, b"2", etag="", ttl_s=KEY_S)
        await state.delete(key)
    except SidecarError as error:
        words = f"{store} cannot be written: {error}"
        return Check("first write", "failed", words, "look at the sidecar's log and at the store")
    if not is_new or is_twice:
        words = f"{store} lets a key be created twice: hosts overwrite each other's workers"
        return Check("first write", "failed", words, "take another store")
    return Check("first write", "ok", f"{store} creates a key once")


async def _lock(sidecar: Sidecar, name: str) -> Check:
    locks, resource = SidecarLocks(sidecar, name), f"wm.doctor.{uuid.uuid4()}"
    try:
        is_ours = await locks.try_lock(resource, "doctor", 10)
        is_twice = await locks.try_lock(resource, "another", 10)
        await locks.unlock(resource, "doctor")
    except SidecarError as error:
        words = f"{name} does not lock: {error}"
        return Check("locks", "failed", words, "groups of hosts queue until it does; see its log")
    if not is_ours or is_twice:
        return Check("locks", "failed", f"{name} does not exclude", "take another lock store")
    return Check("locks", "ok", f"{name} excludes")


def _of_files(resources: Path, settings: Settings, app_id: str) -> list[Check]:
    found: list[Check] = []
    documents = []
    paths = sorted(p for p in resources.glob("*.y*ml")) if resources.is_dir() else []
    for path in paths:
        with _told(path.name, found):
            documents += [each for each in yaml.safe_load_all(path.read_text()) if each]
    if not paths:
        words = f"{resources}: no folder with component files"
        found.append(Check("files", "failed", words, "name the folder of --resources-path"))
    found += check_files(documents, settings, app_id)
    if not found:
        words = f"{resources}: {len(paths)} files, nothing that loses events"
        found.append(Check("files", "ok", words))
    return found


@contextmanager
def _told(name: str, found: list[Check]) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        words = " ".join(str(error).split())
        found.append(Check(f"file {name}", "failed", words, "mend it: Dapr cannot read it either"))


def to_document(checks: list[Check]) -> dict[str, Any]:
    """Return what the command prints as JSON."""
    is_well = all(check.status != "failed" for check in checks)
    return {
        "status": "ok" if is_well else "failed",
        "checks": [check.to_json() for check in checks],
    }
