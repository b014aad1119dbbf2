"""The way to a service over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import grpc

from workmanager.client.connection import MAX_BODY_BYTES
from workmanager.client.grpc_messages import document_of, request_of
from workmanager.client.grpc_methods import grpc_methods
from workmanager.client.grpc_problems import problem_of_call
from workmanager.client.problems import ClientError, ConnectionLostError
from workmanager.client.tls import tls_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.message import Message

    from workmanager.client.call import Call, Json
    from workmanager.client.streams import Follow
    from workmanager.client.target import Target

Metadata = tuple[tuple[str, str | bytes], ...]

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_BODY_BYTES),
    ("grpc.max_send_message_length", MAX_BODY_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # a back-off elsewhere in the process is not ours
    ("grpc.initial_reconnect_backoff_ms", 100),  # 1 s by default; who repeats waits by itself
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),  # while calls or streams are open: a peer may have gone
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),  # who follows sends no data
    ("grpc.http2.ping_timeout_ms", 10_000),  # of pings that gRPC sends for itself; 60 s by default
)


class GrpcLink:
    """Holds the channel to one target; threads may share it.

    Args:
        timeout_s: The longest time, in seconds, that a call may take.
    """

    def __init__(self, target: Target, *, token: str, timeout_s: float) -> None:
        self.target = str(target)
        self._where = target
        self._metadata: Metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._timeout_s = timeout_s
        self._channel: grpc.Channel | None = None

    def close(self) -> None:
        """Close the channel; the next call opens another."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def ask(self, call: Call[Any]) -> Json:
        """Return the answer to *call*, sent once.

        Raises:
            ClientError: It was refused, or there was no answer.
        """
        return self.answer(call, self.send(call))

    def send(self, call: Call[Any]) -> grpc.Future[Message]:
        """Send *call*; what comes back is a future."""
        method = grpc_methods()[call.rpc]
        unary = self._opened().unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return unary.future(
            request_of(call), timeout=self._limit_s(call), metadata=self._metadata_of(call)
        )

    def answer(self, call: Call[Any], future: grpc.Future[Message]) -> Json:
        """Wait for the answer to what was sent."""
        try:
            return document_of(future.result())
        except grpc.RpcError as error:
            raise self.problem(call, error) from error
        except grpc.FutureCancelledError as error:  # by closing the channel
            raise ConnectionLostError(self.target, "the call was cut") from error

    def open(self, follow: Follow) -> GrpcSource:
        """Open a stream, which has no time limit."""
        method = grpc_methods()[follow.call.rpc]
        stream = self._opened().unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        messages = stream(request_of(follow.call), metadata=self._metadata_of(follow.call))
        return GrpcSource(self, follow, messages)

    def problem(self, call: Call[Any], error: grpc.RpcError) -> ClientError:
        """Return what *error* means to the caller."""
        return problem_of_call(
            cast("Any", error), target=self.target, timeout_s=self._limit_s(call)
        )

    def _opened(self) -> grpc.Channel:
        if self._channel is None:
            self._channel = _open_channel(self._where)
        return self._channel

    def _metadata_of(self, call: Call[Any]) -> Metadata:
        return (*self._metadata, ("idempotency-key", call.key)) if call.key else self._metadata

    def _limit_s(self, call: Call[Any]) -> float:
        return self._timeout_s if call.timeout_s is None else call.timeout_s


class Messages(Protocol):
    """What grpc gives for a stream."""

    def __next__(self) -> Message:
        """Wait for the next message."""

    def cancel(self) -> bool | None:
        """End it."""


class GrpcSource:
    """An open stream of messages, each with a handful of items."""

    def __init__(self, link: GrpcLink, follow: Follow, messages: Messages) -> None:
        self._link = link
        self._follow = follow
        self._messages = messages

    def receive(self) -> Sequence[Json]:
        """Wait for items and return those that came."""
        try:
            message = next(cast("Iterator[Message]", self._messages), None)
        except grpc.RpcError as error:
            raise self._link.problem(self._follow.call, error) from error
        if message is None:
            raise ConnectionLostError(self._link.target, "the stream ended")
        return [document_of(item) for item in getattr(message, self._follow.items)]

    def close(self) -> None:
        """End it."""
        self._messages.cancel()


def _open_channel(target: Target) -> grpc.Channel:
    if target.socket_path is not None:
        options = [*OPTIONS, ("grpc.default_authority", target.authority)]
        return grpc.insecure_channel(f"unix:{target.socket_path}", options=options)
    if not target.is_tls:
        return grpc.insecure_channel(target.authority, options=list(OPTIONS))
    return grpc.secure_channel(
        target.authority, grpc.ssl_channel_credentials(*tls_files(target)), options=list(OPTIONS)
    )
