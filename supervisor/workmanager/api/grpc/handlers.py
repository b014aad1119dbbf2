"""How grpc.aio is given the rpcs: bytes in, bytes out, refusals as rich statuses.

Callers are admitted before their message is received: for a call that is refused a handler is given
that reads nothing, so that strangers cannot fill memory with requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn
from uuid import uuid4

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from pydantic import BaseModel

from workmanager.api.grpc.admission import Door, admit_call
from workmanager.api.grpc.convert import to_message
from workmanager.api.grpc.idempotency import KeyedAnswers, digest_of, key_of
from workmanager.api.grpc.outlet import Outlet
from workmanager.api.grpc.status import code_of, message_of, trailers_of
from workmanager.api.problems import as_error
from workmanager.errors import InvalidArgumentError, Reason, WorkManagerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from workmanager.api.auth import Auth
    from workmanager.api.grpc.bridge import Bridge
    from workmanager.api.grpc.outlet import Context
    from workmanager.api.grpc.rpc import Rpc
    from workmanager.api.protocol import Service
    from workmanager.api.rest.bodies import Limits

    MethodHandler = grpc.RpcMethodHandler[bytes, bytes]

ENVELOPE_BYTES = 8192  # of a message around what its limit is about

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class House:
    """What every call needs.

    Attributes:
        bridge: For calls that answer once.
        streams: For those that answer with streams, which a stop does not wait for.
        service_for: The service as a principal may use it.
        limits: How large a request of a kind may be, as of now.
    """

    bridge: Bridge
    streams: Bridge
    service_for: Callable[[str], Service]
    auth: Auth
    answers: KeyedAnswers
    limits: Callable[[], Limits]


class Handlers(grpc.GenericRpcHandler):
    """The rpcs behind one door.

    Args:
        rpcs: By full name, `/package.Service/Method`.
    """

    def __init__(self, house: House, door: Door, rpcs: Mapping[str, Rpc]) -> None:
        self._house = house
        self._door = door
        self._rpcs = rpcs

    def service(self, details: grpc.HandlerCallDetails) -> MethodHandler | None:
        """Return what serves a call; None: there is no such rpc."""
        rpc = self._rpcs.get(details.method)
        if rpc is None:
            return None
        call = _Call(self._house, rpc)
        try:
            metadata = tuple(details.invocation_metadata)
            call.principal = admit_call(self._house.auth, self._door, rpc.name, metadata)
        except WorkManagerError as error:
            if rpc.is_public is None:
                return _refusing(error)
            call.refusal = error
        if rpc.is_stream:
            return grpc.unary_stream_rpc_method_handler(call.stream)
        return grpc.unary_unary_rpc_method_handler(call.unary)


class _Call:
    """One call of one caller.

    Attributes:
        principal: Who calls; empty for a stranger.
        refusal: Why a stranger is refused, unless the request turns out to be public.
    """

    def __init__(self, house: House, rpc: Rpc) -> None:
        self._house = house
        self._rpc = rpc
        self.principal = ""
        self.refusal: WorkManagerError | None = None

    async def unary(self, raw: bytes, context: Context) -> bytes:
        """Answer with one message."""
        try:
            work = self._rpc.prepare(self._read(raw))
            key = key_of(tuple(context.invocation_metadata() or ())) if self._rpc.keyed else ""
            if key:
                return await self._keyed(key, raw, work)
            service = self._service()
            return self._encode(await self._house.bridge.call(lambda: work(service)))
        except Exception as error:  # noqa: BLE001 - the border of a call
            await _refuse(context, error, self._rpc.name)

    async def stream(self, raw: bytes, context: Context) -> None:
        """Answer with messages until the client, the service, or the source ends it."""
        try:
            work = self._rpc.prepare(self._read(raw))
            outlet = Outlet(context, self._house.streams)
            await context.send_initial_metadata(())  # it is open, though nothing may come for long
            await self._house.streams.call(lambda: work(self._service(), outlet))
        except Exception as error:  # noqa: BLE001 - the border of a call
            await _refuse(context, error, self._rpc.name)  # waits for a client who does not read

    async def _keyed(
        self, key: str, raw: bytes, work: Callable[[Service], Awaitable[object]]
    ) -> bytes:
        digest = digest_of(self.principal, self._rpc.name, raw)
        service = self._service()

        async def answer() -> bytes:
            return self._encode(await work(service))

        return await self._house.bridge.call(lambda: self._house.answers.once(key, digest, answer))

    def _service(self) -> Service:
        return self._house.service_for(self.principal)

    def _read(self, raw: bytes) -> Message:
        max_bytes = self._house.limits().of(self._rpc.kind) + ENVELOPE_BYTES
        if len(raw) > max_bytes:
            raise WorkManagerError(
                f"the request has more than {max_bytes} bytes",
                reason=Reason.PAYLOAD_TOO_LARGE,
                metadata={"limitBytes": str(max_bytes)},
            )
        try:
            request = self._rpc.request.FromString(raw)
        except DecodeError as error:
            raise InvalidArgumentError(f"the request is no {self._rpc.request.__name__}") from error
        is_public = self._rpc.is_public is not None and self._rpc.is_public(request)
        if self.refusal is not None and not is_public:
            raise self.refusal
        return request

    def _encode(self, result: object) -> bytes:
        if result is None:
            return b""
        if isinstance(result, BaseModel):
            result = to_message(self._rpc.answer, result)
        assert isinstance(result, Message)  # noqa: S101 - see Work
        return result.SerializeToString()


def _refusing(error: WorkManagerError) -> MethodHandler:
    async def refuse(_: object, context: Context) -> NoReturn:
        await _refuse(context, error, "")

    return grpc.stream_unary_rpc_method_handler(refuse)  # a stream that nobody reads


async def _refuse(context: Context, raised: Exception, method: str) -> NoReturn:
    """End the call with what *raised* means.

    Raises:
        AbortError: Always; it is grpc.aio's own, and must get through to it.
    """
    if isinstance(raised, grpc.aio.AbortError):
        raise raised
    error = as_error(raised) or _internal(raised, method)
    await context.abort(code_of(error), message_of(error), trailers_of(error))
    raise AssertionError("abort raises")


def _internal(raised: Exception, method: str) -> WorkManagerError:
    occurrence = f"urn:uuid:{uuid4()}"
    log.error("request_failed", method=method, occurrence=occurrence, exc_info=raised)
    return WorkManagerError(
        f"the service failed on this call; its log has the cause under {occurrence}"
    )
