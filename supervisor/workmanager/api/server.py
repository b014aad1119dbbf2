"""Serves the API on hypercorn's trio protocol engine: HTTP/1.1, h2c, and HTTP/2 with TLS.

Hypercorn 0.18 has the protocols; the accepting is ours, because its own loop
- does not hand the peer of a Unix socket to the application (here: `scope["state"]["peer"]`),
- lets an exception of one connection end the whole server (an HTTP/2 client gets there by sending
  data to a stream that was answered early: KeyError in `H2Protocol._handle_events`),
- has no limit on connections, and keeps those that the client has closed, with their file
  descriptors, for the whole keep-alive time,
- sends inside a shielded cancel scope, so a client that does not read would stop the shutdown.
"""

from __future__ import annotations

import math
import re
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, RawData, Updated
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext
from hypercorn.typing import ConnectionState

from workmanager.api.auth import Peer
from workmanager.api.listeners import ServerError, ServerOptions, open_listeners
from workmanager.api.streams import WatchedStream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from hypercorn.typing import ASGIFramework
    from hypercorn.typing import Event as Signal
    from starlette.types import ASGIApp

__all__ = ["ServerError", "ServerOptions", "serve"]

H11_MAX_HEAD_BYTES = 128 * 1024  # an event's attributes may all stand in headers
H2_MAX_HEAD_BYTES = 128 * 1024
H2_MAX_STREAMS = 100
_WHOLE_HEAD = re.compile(rb"HTTP/1\.1 [2-5][^\0]*\r\ncontent-length: [0-9]+\r\n", re.IGNORECASE)
UNBOUNDED_REQUESTS = 2**31  # at its limit hypercorn's HTTP/2 drops the answers under way

log = structlog.get_logger(__name__)


async def serve(
    app: ASGIApp,
    options: ServerOptions,
    *,
    shutdown: trio.Event,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve *app* until *shutdown* is set; `task_status` gets the URLs once they take calls.

    At shutdown no connection is accepted any more, idle ones are closed, streams that watch
    `scope["state"]["stopping"]` end, and requests under way have `options.grace_s` seconds.
    Cancelling closes everything at once.

    Raises:
        ServerError: An address is taken, not allowed, or cannot be bound; names which and why.
    """
    async with open_listeners(options) as listeners:
        server = _Server(app, options)
        async with trio.open_nursery() as connections:
            connections.start_soon(server.cut_when_cancelled)
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(
                        trio.serve_listeners,
                        server.handle,
                        [listener.socket for listener in listeners],
                        handler_nursery=connections,
                    )
                )
                task_status.started([listener.url for listener in listeners])
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            await server.stop()
            with trio.move_on_after(options.grace_s):
                await server.idle.wait()
            connections.cancel_scope.cancel()


class _Server:
    """The connections of one server."""

    def __init__(self, app: ASGIApp, options: ServerOptions) -> None:
        self._app = ASGIWrapper(cast("ASGIFramework", app))
        self._config = _configure(options)
        self._tls = options.tls.context() if options.tls else None
        self._max_connections = options.max_connections
        self._context = WorkerContext(None)
        self._stopping = trio.Event()
        self._streams: set[WatchedStream] = set()
        self.idle = trio.Event()

    async def handle(self, raw: trio.SocketStream) -> None:
        """Serve one connection to its end; nothing it does ends another one."""
        stream = WatchedStream(raw)
        if self._stopping.is_set() or len(self._streams) >= self._max_connections:
            await trio.aclose_forcefully(stream)
            return
        self._streams.add(stream)
        try:
            await self._run(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # the peer is gone
        except* Exception as group:
            log.warning("connection_failed", exc_info=group)
        finally:
            self._streams.discard(stream)
            if self._stopping.is_set() and not self._streams:
                self.idle.set()

    async def stop(self) -> None:
        """Tell connections and streaming answers that this is the end."""
        self._stopping.set()
        await self._context.terminated.set()
        if not self._streams:
            self.idle.set()

    async def cut_when_cancelled(self) -> None:
        """Close what is still open on cancellation: that wakes even hypercorn's shielded sends."""
        try:
            await trio.sleep_forever()
        finally:
            if self._streams:
                log.warning("connections_cut", count=len(self._streams))
            for stream in list(self._streams):
                stream.close()

    async def _run(self, stream: WatchedStream) -> None:
        state = ConnectionState({"stopping": self._stopping})
        if stream.socket.family == socket.AF_UNIX:
            state["peer"] = _peer_of(stream.socket)
        await _Connection(
            self._app,
            self._config,
            self._context,
            state,
            _secured(stream, self._tls),
        ).run()


class _Connection(TCPServer):
    """Hypercorn's connection: its idle time kept right, and an answer sent in one piece.

    Hypercorn 0.18 stops the idle clock when HTTP/2 begins without TLS, so a client could send the
    preface and stay for ever; and it goes on waiting for a client that has closed. For each answer
    it starts a task, and sends head, body and an empty end: a third of what a call costs.
    """

    _is_http2 = False
    _head = b""  # of an answer whose body follows at once

    def __init__(
        self,
        app: ASGIWrapper,
        config: Config,
        context: WorkerContext,
        state: ConnectionState,
        stream: trio.SSLStream[trio.SocketStream],
    ) -> None:
        super().__init__(app, config, context, state, stream)
        self._clock = _IdleClock(config.keep_alive_timeout, context.terminated)
        self.idle_task = self._clock

    async def _read_data(self) -> None:
        self._task_group.spawn(self._clock.run, self._initiate_server_close)
        await super()._read_data()
        self._clock.end()

    async def protocol_send(self, event: Event) -> None:
        """Send what hypercorn wants sent, and start the idle clock where it does not."""
        if isinstance(event, RawData):
            await self._send(event)
        else:
            await super().protocol_send(event)
        if not self._is_http2 and isinstance(self.protocol.protocol, H2Protocol):
            self._is_http2 = True
            if self.protocol.protocol.idle:
                await super().protocol_send(Updated(idle=True))

    async def _send(self, event: RawData) -> None:
        if not self._head and _WHOLE_HEAD.match(event.data):
            self._head = event.data
            return
        data, self._head = self._head + event.data, b""
        if data:
            await super().protocol_send(RawData(data))


class _IdleClock(TrioSingleTask):
    """Ends a connection that is idle for too long, or when the server stops.

    One task for the connection's whole life, whose deadline is moved.
    """

    def __init__(self, timeout_s: float, stopping: Signal) -> None:
        super().__init__()
        self._timeout_s = timeout_s
        self._stopping = stopping
        self._scope = trio.CancelScope()
        self._life = trio.CancelScope()
        self._is_idle = False
        self._idle_again = trio.Event()

    async def run(self, close: Callable[[], Awaitable[None]]) -> None:
        """Wait for the end of an idle time, then *close*."""
        with self._life:
            with self._scope:
                await self._stopping.wait()
            while not self._is_idle:
                self._idle_again = trio.Event()
                await self._idle_again.wait()
            with trio.CancelScope(shield=True):
                await close()

    async def restart(self, *_: object) -> None:
        """Note that the connection is idle from now on."""
        self._is_idle = True
        self._scope.deadline = trio.current_time() + self._timeout_s
        self._idle_again.set()

    async def stop(self) -> None:
        """Note that it is not."""
        self._is_idle = False
        self._scope.deadline = math.inf

    def end(self) -> None:
        """The connection ends."""
        self._life.cancel()


def _secured(
    stream: WatchedStream, tls: ssl.SSLContext | None
) -> trio.SSLStream[trio.SocketStream]:
    """Wrap a TCP *stream* in TLS where there is TLS; hypercorn looks at what it gets."""
    if tls is None or stream.socket.family == socket.AF_UNIX:
        return cast("trio.SSLStream[trio.SocketStream]", stream)
    return cast(
        "trio.SSLStream[trio.SocketStream]",
        trio.SSLStream(stream, tls, server_side=True, https_compatible=True),
    )


def _peer_of(sock: trio.socket.SocketType) -> Peer:
    """Ask the kernel who connected; it cannot be forged (unix(7), SO_PEERCRED)."""
    packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", packed)
    return Peer(pid=pid, uid=uid, gid=gid)


def _configure(options: ServerOptions) -> Config:
    config = Config()
    config.errorlog = None  # what goes wrong is logged here and by the application, in one form
    config.include_server_header = False
    config.keep_alive_timeout = options.idle_timeout_s
    config.keep_alive_max_requests = UNBOUNDED_REQUESTS
    config.h11_max_incomplete_size = H11_MAX_HEAD_BYTES
    config.h2_max_header_list_size = H2_MAX_HEAD_BYTES
    config.h2_max_concurrent_streams = H2_MAX_STREAMS
    config.ssl_handshake_timeout = options.handshake_timeout_s
    return config
