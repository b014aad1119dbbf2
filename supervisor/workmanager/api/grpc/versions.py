"""The rpcs about versions, code, executors and logs; they belong to the service of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.api.grpc.paging import page_of
from workmanager.api.grpc.workers import calls
from workmanager.api.paging import cut_page
from workmanager.errors import Fault, InvalidArgumentError, Reason, WorkManagerError
from workmanager.model.resources import LogLine, Page
from workmanager.v1 import worker_service_pb2 as pb

if TYPE_CHECKING:
    from workmanager.api.grpc.rpc import Work
    from workmanager.api.protocol import Service
    from workmanager.model.resources import Executor, Operation, Version

DEFAULT_TAIL = 100  # lines, as REST
MAX_TAIL = 100_000


@calls.unary(kind="code", keyed=True)
def create_version(request: pb.CreateVersionRequest) -> Work[Version]:
    """Hand the worker new code."""
    if not request.media_type:
        raise WorkManagerError(
            "say by mediaType what the code is, such as text/x-python",
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
        )
    promote = request.promote if request.HasField("promote") else True
    return lambda service: service.create_version(
        request.worker, request.content, request.media_type, promote=promote
    )


@calls.unary()
def list_versions(request: pb.ListVersionsRequest) -> Work[Page[Version]]:
    """List a worker's versions, the newest first."""
    page = page_of(request)
    return lambda service: service.list_versions(
        request.worker, page_size=page.size, page_token=page.token
    )


@calls.unary()
def get_version(request: pb.GetVersionRequest) -> Work[Version]:
    """Get one version."""
    return lambda service: service.get_version(request.worker, request.version)


@calls.unary(keyed=True)
def promote_version(request: pb.PromoteVersionRequest) -> Work[Operation]:
    """Make a version current."""
    return lambda service: service.promote_version(request.worker, request.version)


@calls.unary()
def delete_version(request: pb.DeleteVersionRequest) -> Work[None]:
    """Forget a version that is not in use."""
    return lambda service: service.delete_version(request.worker, request.version)


@calls.unary()
def get_code(request: pb.GetCodeRequest) -> Work[pb.GetCodeResponse]:
    """Get the code of a version, by default the current."""

    async def work(service: Service) -> pb.GetCodeResponse:
        content, media_type = await service.get_code(request.worker, request.version or None)
        return pb.GetCodeResponse(content=content, media_type=media_type)

    return work


@calls.unary()
def list_executors(request: pb.ListExecutorsRequest) -> Work[Page[Executor]]:
    """List the executors of one worker or of all."""
    page = page_of(request)

    async def work(service: Service) -> Page[Executor]:
        return cut_page(await service.list_executors(request.worker or None), page)

    return work


@calls.unary()
def list_logs(request: pb.ListLogsRequest) -> Work[Page[LogLine]]:
    """Get the last lines that workers wrote."""
    tail = tail_of(request) or MAX_TAIL

    async def work(service: Service) -> Page[LogLine]:
        lines = await service.logs(request.worker or None, since_seq=request.since_seq, tail=tail)
        return Page[LogLine](items=lines)

    return work


def tail_of(request: pb.ListLogsRequest | pb.TailLogsRequest) -> int:
    """Return how many kept lines are asked for; 0 is all.

    Raises:
        InvalidArgumentError: `tail` or `sinceSeq` is out of range.
    """
    tail = request.tail if request.HasField("tail") else DEFAULT_TAIL
    for name, value, most in (("tail", tail, MAX_TAIL), ("sinceSeq", request.since_seq, 2**63)):
        if not 0 <= value <= most:
            detail = f"must be between 0 and {most}"
            raise InvalidArgumentError(f"{name} {detail}", faults=[Fault(name, detail)])
    return tail
