"""Rights of calls that bring a manifest: what it declares decides what right it needs.

Besides CREATE or UPDATE on the worker it names, a manifest needs a grant for each secret it names.
Isolation is what keeps one application's code from another's, so only administrators may loosen it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.errors import Reason, WorkManagerError
from workmanager.model.access import EVERY, Right
from workmanager.model.manifest import dump_manifest, parse_manifest
from workmanager.model.resources import ApplyResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workmanager.api.rules import Calling
    from workmanager.model.spec import Manifest


async def creating(calling: Calling) -> None:
    """Need CREATE on the worker that the manifest names; on all if it names none."""
    if calling.access.is_admin(calling.principal):
        calling.target = _name_in(calling.args["manifest"]) or EVERY
        return
    calling.need_on_all(Right.CREATE, ())
    manifest = parse_manifest(calling.args["manifest"])
    is_named = bool(_name_in(calling.args["manifest"]))
    calling.need(Right.CREATE, manifest.metadata.name if is_named else EVERY)
    _check(calling, manifest)


async def applying(calling: Calling) -> None:
    """Need UPDATE on a worker that there is, CREATE on one that there is not."""
    if calling.access.is_admin(calling.principal):
        calling.target = calling.args["name"] or _name_in(calling.args["manifest"]) or EVERY
        return
    right = Right.CREATE if _is_new(calling) else Right.UPDATE
    calling.need_on_all(right, ())
    manifest = parse_manifest(calling.args["manifest"], name=calling.args["name"])
    calling.need(right, manifest.metadata.name)
    _check(calling, manifest)


async def apply(calling: Calling) -> object:
    """Apply a manifest by the right that was checked, though the worker comes or goes meanwhile."""
    service, args = calling.access.service, dict(calling.args)
    principal, worker = calling.principal, calling.target
    may_both = all(
        calling.access.may(principal, right, worker) for right in (Right.CREATE, Right.UPDATE)
    )
    if may_both or args["dry_run"]:
        return await service.apply_worker(**args)
    if not _is_new(calling):
        seen = await service.get_worker(worker)
        args["if_match"] = args["if_match"] or seen.etag  # gone meanwhile: it is not made anew
        return await service.apply_worker(**args)
    manifest = dump_manifest(parse_manifest(args["manifest"], name=args["name"]))
    made = await service.create_worker(manifest)  # refused if somebody was faster
    return ApplyResult.model_construct(change="created", worker=made)


async def patching(calling: Calling) -> None:
    """Need UPDATE on the worker, and what the patch's own parts need."""
    calling.need(Right.UPDATE, calling.named("ref"))
    if calling.access.is_admin(calling.principal):
        return
    spec = _part(calling.args["merge_patch"], "spec")
    _check_secrets(calling, _names(spec.get("secrets")))
    isolation = _part(spec, "isolation")
    if isolation.get("level") == "none" or isolation.get("readPaths"):
        raise _loosened(calling)


def _check(calling: Calling, manifest: Manifest) -> None:
    spec = manifest.spec
    _check_secrets(calling, [secret.name for secret in spec.secrets])
    if spec.isolation.level == "none" or spec.isolation.read_paths:
        raise _loosened(calling)


def _check_secrets(calling: Calling, names: Iterable[str]) -> None:
    for name in names:
        if not calling.access.may_give(calling.principal, calling.target, name):
            raise WorkManagerError(
                f"{calling.principal} may not give secret {name!r} to worker {calling.target!r}",
                reason=Reason.PERMISSION_DENIED,
            )


def _loosened(calling: Calling) -> WorkManagerError:
    return WorkManagerError(
        f"{calling.principal} may not set isolation.level none or isolation.readPaths;"
        " only administrators may",
        reason=Reason.PERMISSION_DENIED,
    )


def _is_new(calling: Calling) -> bool:
    name = calling.args["name"] or _name_in(calling.args["manifest"])
    return calling.access.service.worker_name(name) != name  # a uid is no name


def _name_in(manifest: object) -> str:
    """Return the name that a manifest or a seed form gives; empty for none."""
    found = _part(manifest, "metadata").get("name")
    if not found and isinstance(manifest, dict):
        lower = {str(key).lower(): value for key, value in manifest.items()}
        found = lower.get("name")
    return found if isinstance(found, str) else ""


def _names(secrets: Any) -> list[str]:  # noqa: ANN401 - whatever the caller sent
    """Return the names in a patch's list of secrets; what is none of it the service refuses."""
    if not isinstance(secrets, list):
        return []
    return [str(secret.get("name")) for secret in secrets if isinstance(secret, dict)]


def _part(value: object, key: str) -> Mapping[str, Any]:
    part = value.get(key) if isinstance(value, dict) else None
    return part if isinstance(part, dict) else {}
