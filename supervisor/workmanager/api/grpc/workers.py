"""The rpcs about workers: what is declared, and the verbs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.api.grpc.convert import struct_to_json, to_json
from workmanager.api.grpc.paging import page_of
from workmanager.api.grpc.rpc import Calls, Work
from workmanager.api.requests import Rollback
from workmanager.api.validation import read_model
from workmanager.errors import (
    ConflictError,
    Fault,
    InvalidArgumentError,
    NotFoundError,
    Reason,
)
from workmanager.v1 import worker_service_pb2 as pb

if TYPE_CHECKING:
    from workmanager.api.protocol import Service
    from workmanager.model.resources import (
        ApplyResult,
        Diff,
        Explanation,
        Operation,
        Page,
        Worker,
    )

calls = Calls(pb.DESCRIPTOR.services_by_name["WorkerService"])


@calls.unary(kind="manifest", keyed=True)
def create_worker(request: pb.CreateWorkerRequest) -> Work[Worker]:
    """Create a worker from a manifest, or from the short form."""
    start = request.start if request.HasField("start") else True
    which = request.WhichOneof("declaration")
    if which is None:
        raise _missing("manifest")
    declared = to_json(request.manifest if which == "manifest" else request.seed)
    return lambda service: service.create_worker(declared, start=start)


@calls.unary(kind="manifest")
def apply_worker(request: pb.ApplyWorkerRequest) -> Work[ApplyResult]:
    """Create the worker, or change it to what the manifest says."""
    if not request.HasField("manifest"):
        raise _missing("manifest")
    manifest = to_json(request.manifest)

    async def work(service: Service) -> ApplyResult:
        if request.if_match == "*":
            await _must_exist(service, request.worker)
        return await service.apply_worker(
            request.worker, manifest, if_match=_etag(request.if_match), dry_run=request.dry_run
        )

    return work


@calls.unary(kind="manifest", keyed=True)
def patch_worker(request: pb.PatchWorkerRequest) -> Work[ApplyResult]:
    """Change a worker by a JSON merge patch of its manifest."""
    patch = struct_to_json(request.patch)
    etag = _etag(request.if_match)
    return lambda service: service.patch_worker(request.worker, patch, if_match=etag)


@calls.unary()
def get_worker(request: pb.GetWorkerRequest) -> Work[Worker]:
    """Get one worker."""
    return lambda service: service.get_worker(request.worker)


@calls.unary()
def list_workers(request: pb.ListWorkersRequest) -> Work[Page[Worker]]:
    """List workers."""
    page = page_of(request)
    return lambda service: service.list_workers(
        filter=request.filter,
        order_by=request.order_by,
        page_size=page.size,
        page_token=page.token,
    )


@calls.unary()
def delete_worker(request: pb.DeleteWorkerRequest) -> Work[Operation]:
    """Stop a worker and forget it with its inbox."""
    drain = request.drain if request.HasField("drain") else True
    etag = _etag(request.if_match)
    return lambda service: service.delete_worker(request.worker, drain=drain, if_match=etag)


@calls.unary(keyed=True)
def start_worker(request: pb.StartWorkerRequest) -> Work[Worker]:
    """Ask for RUNNING."""
    return lambda service: service.start_worker(request.worker)


@calls.unary(keyed=True)
def stop_worker(request: pb.StopWorkerRequest) -> Work[Worker]:
    """Ask for STOPPED."""
    return lambda service: service.stop_worker(request.worker)


@calls.unary(keyed=True)
def pause_worker(request: pb.PauseWorkerRequest) -> Work[Worker]:
    """Ask for PAUSED."""
    return lambda service: service.pause_worker(request.worker)


@calls.unary(keyed=True)
def resume_worker(request: pb.ResumeWorkerRequest) -> Work[Worker]:
    """Ask for RUNNING after a pause."""
    return lambda service: service.resume_worker(request.worker)


@calls.unary(keyed=True)
def restart_worker(request: pb.RestartWorkerRequest) -> Work[Worker]:
    """Replace the executors by new ones of the same version."""
    return lambda service: service.restart_worker(request.worker)


@calls.unary(keyed=True)
def rollback_worker(request: pb.RollbackWorkerRequest) -> Work[Operation]:
    """Make an earlier version current."""
    asked = to_json(request)
    worker = str(asked.pop("worker", ""))
    body = read_model(Rollback, asked)
    return lambda service: service.rollback_worker(
        worker, version=body.version or None, message=body.message
    )


@calls.unary()
def explain_worker(request: pb.ExplainWorkerRequest) -> Work[Explanation]:
    """Say in one sentence why the worker is or is not processing."""
    return lambda service: service.explain_worker(request.worker)


@calls.unary(kind="manifest", keyed=True)
def diff_worker(request: pb.DiffWorkerRequest) -> Work[Diff]:
    """Say what an apply of the manifest would change."""
    if not request.HasField("manifest"):
        raise _missing("manifest")
    manifest = to_json(request.manifest)
    return lambda service: service.diff_worker(request.worker, manifest)


@calls.unary(keyed=True)
def recover(request: pb.RecoverRequest) -> Work[Operation]:  # noqa: ARG001 - it holds nothing
    """Run the recovery of all workers again."""
    return lambda service: service.recover()


def _etag(text: str) -> str | None:
    return None if text in ("", "*") else text.removeprefix("W/").strip('"')


async def _must_exist(service: Service, worker: str) -> None:
    try:
        await service.get_worker(worker)
    except NotFoundError as error:
        raise ConflictError(
            f"ifMatch * asks for a worker that exists; {worker} does not",
            reason=Reason.ETAG_MISMATCH,
        ) from error


def _missing(field: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{field} is missing", faults=[Fault(field, "is required")])
