"""One gRPC channel to the sidecar, for as long as the service runs; it heals by itself.

The sidecar may be absent at the start, end, and come back: nothing here raises for that but the
calls themselves. A watch asks it for its metadata, often while it is down, and tells the listeners
when it comes and goes.

gRPC is the synchronous one: its calls are futures that its own threads finish, so a call takes no
thread of ours, and cancelling the trio task cancels the call. Streams are read by a thread each,
see `brokers.dapr.stream`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

import grpc
import structlog
import trio
from dapr.proto.runtime.v1 import metadata_pb2
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub

from workmanager.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from workmanager.sidecar.address import Address

R = TypeVar("R", bound="Message")

CALL_S = 10.0  # what a call may take unless its caller says otherwise
PROBE_S = 2.0  # within which a sidecar that is well tells its metadata
LOOK_S = 2.0  # between two probes while it is up; calls that fail bring the next one forward
RETRY_FIRST_S = 0.1  # between two probes while it is down, doubled up to the next
RETRY_MOST_S = 2.0
PATIENCE = 2  # probes in a row that may time out while a sidecar counts as up: it may be busy

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # one too large would end its stream again and again
    ("grpc.max_send_message_length", -1),  # the sidecar's limit is its operator's (max-body-size)
    ("grpc.enable_http_proxy", 0),  # it stands beside us
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),  # gRPC's own 120 s would outlast any restart
)

log = structlog.get_logger()


class Sidecar:
    """The connection to the sidecar; made before the loop's threads, used within the loop.

    Attributes:
        address: Where it is.
        is_up: Whether it answered last.
        last_error: Why it does not; empty while it is up.
        metadata: What it last told about itself: its id, components, subscriptions.
        metadata_at: When it told (trio's clock).
        on_up: Called each time it comes (and with the first answer of all).
        on_down: Called each time it goes.
        reconnects: How often it came back.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.is_up = False
        self.last_error = "it has not answered yet"
        self.metadata = metadata_pb2.GetMetadataResponse()
        self.metadata_at = 0.0
        self.on_up: list[Callable[[], None]] = []
        self.on_down: list[Callable[[], None]] = []
        self.reconnects = -1
        self._headers = (("dapr-api-token", address.token),) if address.token else ()
        self._up = trio.Event()
        self._look = trio.Event()
        self._channel = _open(address)
        self._stub = DaprStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch the sidecar until cancelled; then the channel closes, and every call with it."""
        task_status.started()
        silent, wait_s = 0, RETRY_FIRST_S
        try:
            while True:
                error = await self._probe()
                if not error:
                    silent, wait_s = 0, LOOK_S
                    self._came()
                else:
                    silent += 1
                    if not self.is_up or error.code != "DEADLINE_EXCEEDED" or silent >= PATIENCE:
                        self._went(error)
                    wait_s = RETRY_FIRST_S if wait_s == LOOK_S else wait_s * 2
                self._look = trio.Event()
                with trio.move_on_after(min(wait_s, RETRY_MOST_S)):
                    await self._look.wait()
        finally:
            self.is_up = False
            self._channel.close()

    def look(self) -> None:
        """Probe now: something has failed that should not have, while the sidecar counts as up."""
        if self.is_up:
            self._look.set()

    async def wait_up(self) -> None:
        """Return once the sidecar answers, at once if it does."""
        while not self.is_up:
            await self._up.wait()

    async def call(
        self, method: str, request: Message, answer: type[R], *, timeout_s: float = CALL_S
    ) -> R:
        """Make a unary call, such as `GetState`; returns its *answer*.

        Cancelling the caller cancels the call; what the sidecar has done by then stands.

        Raises:
            SidecarError: It failed; `code` is gRPC's status.
        """
        token, done = trio.lowlevel.current_trio_token(), trio.Event()

        def tell(_: object) -> None:  # in a thread of gRPC's
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set)

        try:
            future = getattr(self._stub, method).future(
                request, timeout=timeout_s, metadata=self._headers
            )
        except ValueError as error:  # the channel is closed
            raise SidecarError(f"{method}: the service is stopping", code="CANCELLED") from error
        future.add_done_callback(tell)
        try:
            await done.wait()
        finally:
            future.cancel()
        try:
            result = future.result()
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            raise self._failed(method, error) from error
        if not isinstance(result, answer):
            raise TypeError(f"{method} answers {type(result).__name__}")  # a fault of the caller's
        return result

    def open_stream(self, requests: object) -> grpc.Call:
        """Open a `SubscribeTopicEventsAlpha1`; iterate over the call in a thread, cancel it to end.

        Raises:
            ValueError: The channel is closed.
        """
        stream = self._stub.SubscribeTopicEventsAlpha1(requests, metadata=self._headers)
        return cast("grpc.Call", stream)

    # -- inside ------------------------------------------------------------------------------

    async def _probe(self) -> SidecarError | None:
        asked = metadata_pb2.GetMetadataRequest()
        try:
            self.metadata = await self.call(
                "GetMetadata", asked, metadata_pb2.GetMetadataResponse, timeout_s=PROBE_S
            )
        except SidecarError as error:
            return error
        self.metadata_at = trio.current_time()
        return None

    def _came(self) -> None:
        if self.is_up:
            return
        self.is_up, self.last_error = True, ""
        self.reconnects += 1
        self._up.set()
        log.info("sidecar_up", address=self.address.target, app_id=self.metadata.id)
        for tell in self.on_up:
            tell()

    def _went(self, error: SidecarError) -> None:
        was_up, self.is_up = self.is_up, False
        first = self.last_error == "it has not answered yet"
        self.last_error = str(error)
        if not was_up:
            if first:
                log.warning("sidecar_absent", address=self.address.target, error=str(error))
            return
        self._up = trio.Event()
        log.warning("sidecar_down", address=self.address.target, error=str(error))
        for tell in self.on_down:
            tell()

    def _failed(self, method: str, error: Exception) -> SidecarError:
        failed = as_sidecar_error(method, error)
        if failed.is_absence and method != "GetMetadata":
            self.look()
        return failed


def as_sidecar_error(method: str, error: Exception) -> SidecarError:
    """Return what gRPC raised for a call as an error of ours."""
    if isinstance(error, grpc.Call):
        code, detail = error.code(), error.details() or ""
        return SidecarError(f"{method}: {code.name}: {detail}"[:500], code=code.name)
    return SidecarError(f"{method}: cancelled", code="CANCELLED")


def _open(address: Address) -> grpc.Channel:
    if not address.is_tls:
        return grpc.insecure_channel(address.target, options=_OPTIONS)
    roots = address.ca.read_bytes() if address.ca is not None else None
    credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    return grpc.secure_channel(address.target, credentials, options=_OPTIONS)
