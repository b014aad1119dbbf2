"""A worker's manifest: read from any JSON value, all of its faults told at once.

apiVersion: workmanager/v1
kind: Worker
metadata: {name: orders, labels: {}, annotations: {}}
spec: {...}                                               see spec_worker.py
"""

import uuid
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from workmanager.errors import Fault
from workmanager.model.manifest_faults import faults_of, manifest_error
from workmanager.model.manifest_seed import SeedForm, is_seed_form
from workmanager.model.names import LabelKey, LabelValue, WorkerName, engine_of_path
from workmanager.model.patch import MAX_DEPTH, is_deeper_than, merge_patch
from workmanager.model.spec_base import Model
from workmanager.model.spec_worker import WorkerSpec

MAX_ANNOTATION_BYTES = 256 * 1024  # all annotations of one worker


def _check_annotations(annotations: dict[str, str]) -> dict[str, str]:
    if sum(len(value.encode()) for value in annotations.values()) > MAX_ANNOTATION_BYTES:
        raise ValueError(f"must take at most {MAX_ANNOTATION_BYTES} bytes in all")
    return annotations


class Metadata(Model):
    """What a worker is called; labels select, annotations only inform."""

    name: WorkerName
    labels: Annotated[dict[LabelKey, LabelValue], Field(default_factory=dict, max_length=64)]
    annotations: Annotated[
        dict[LabelKey, str],
        Field(default_factory=dict, max_length=64),
        AfterValidator(_check_annotations),
    ]


class Manifest(Model):
    """What a user declares: a name and a specification."""

    api_version: Literal["workmanager/v1"] = "workmanager/v1"
    kind: Literal["Worker"] = "Worker"
    metadata: Metadata
    spec: WorkerSpec


def parse_manifest(raw: object, *, name: str | None = None) -> Manifest:
    """Read a manifest, or the seed era's create call, from a decoded JSON or YAML value.

    Args:
        raw: Anything a JSON decoder returns; nothing about it is assumed.
        name: The name the call itself gives (its URL); it must not contradict the manifest.

    Returns:
        The manifest; where nobody gave a name, its name is a new GUID.

    Raises:
        ManifestError: With every fault and its place.
    """
    if not isinstance(raw, Mapping):
        raise manifest_error([Fault("", "must be an object with 'metadata' and 'spec'")])
    if is_deeper_than(raw, MAX_DEPTH):
        raise manifest_error([Fault("", f"must be nested at most {MAX_DEPTH} deep")])
    if not is_seed_form(raw):
        return _read(dict(raw), name, [], {})
    seed = SeedForm(raw)
    return _read(seed.manifest, name, seed.faults, seed.manifest_places)


def dump_manifest(manifest: Manifest) -> dict[str, object]:
    """Write a manifest as the JSON value it can be read from again."""
    return manifest.model_dump(mode="json", by_alias=True)


def patch_manifest(manifest: Manifest, patch: object) -> Manifest:
    """Apply a JSON merge patch (RFC 7396) to *manifest*; a new code source drops the old one.

    Raises:
        ManifestError: The patch is no object, or what it leads to has faults.
    """
    if not isinstance(patch, Mapping) or is_deeper_than(patch, MAX_DEPTH):
        raise manifest_error([Fault("", "must be a merge patch: an object, not too deep")])
    base = dump_manifest(manifest)
    code = _at(patch, "spec", "code")
    if isinstance(code, Mapping) and (code.get("content") or code.get("url")):
        base = merge_patch(base, {"spec": {"code": None}})  # its digest pins the old code
    return parse_manifest(merge_patch(base, patch), name=manifest.metadata.name)


def _read(
    raw: dict[str, object], name: str | None, faults: list[Fault], places: Mapping[str, str]
) -> Manifest:
    faults = faults + _name_itself(raw, name) + _missing_code(raw)
    _infer_engine(raw)
    try:
        manifest = Manifest.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        faults += faults_of(error, Manifest)
    if faults:
        raise manifest_error(
            [Fault(places.get(fault.pointer, fault.pointer), fault.detail) for fault in faults]
        )
    return manifest


def _name_itself(raw: dict[str, object], name: str | None) -> list[Fault]:
    """Put the name into the metadata: the manifest's, the call's, else a new GUID."""
    metadata = raw.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        return []  # reported by the model
    own = (metadata or {}).get("name")
    if own is None or own == "":
        raw["metadata"] = {**(metadata or {}), "name": name or str(uuid.uuid4())}
    elif name is not None and own != name:
        return [Fault("metadata.name", f"must be {name!r}, as the call says, or left out")]
    return []


def _missing_code(raw: Mapping[str, object]) -> list[Fault]:
    spec = raw.get("spec")
    if not isinstance(spec, Mapping):
        return []
    code = spec.get("code")
    if code is None or (isinstance(code, Mapping) and not any(code.values())):
        return [Fault("spec.code", "must give content (base64), url, or the digest of known code")]
    return []


def _infer_engine(raw: dict[str, object]) -> None:
    spec, url = raw.get("spec"), _at(raw, "spec", "code", "url")
    if isinstance(spec, Mapping) and spec.get("engine") in (None, "") and isinstance(url, str):
        raw["spec"] = {**spec, "engine": engine_of_path(url)}


def _at(value: object, *keys: str) -> object:
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
