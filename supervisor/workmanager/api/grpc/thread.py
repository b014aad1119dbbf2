"""The asyncio thread that grpc.aio lives in."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import structlog
import trio

from workmanager.api.grpc.admission import Door
from workmanager.api.grpc.doors import close_unix, open_tcp, open_unix
from workmanager.api.grpc.handlers import Handlers
from workmanager.api.grpc.reflection import reflection_handlers
from workmanager.api.grpc.table import RPCS, SERVICES
from workmanager.errors import WorkManagerError

if TYPE_CHECKING:
    from workmanager.api.grpc.doors import GrpcOptions
    from workmanager.api.grpc.handlers import House

MAX_CALLS = 4096  # under way at once, streams among them, of one door
KEEPALIVE_S = 60  # between two looks at whether a client with open calls is still there
KEEPALIVE_ANSWER_S = 20
PING_MIN_S = 10  # how often clients may look themselves; gRPC's own 5 minutes breaks many

log = structlog.get_logger(__name__)


class GrpcThread:
    """Runs the servers; made, started, stopped and waited for in the trio loop.

    Attributes:
        is_open: Set once calls are taken, or `error` says why they are not.
        has_ended: Set when the thread is about to end.
    """

    def __init__(self, house: House, options: GrpcOptions) -> None:
        self.urls: list[str] = []
        self.error: Exception | None = None
        self.is_open = trio.Event()
        self.has_ended = trio.Event()
        self._house = house
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="grpc", daemon=True).start()

    def stop(self) -> None:
        """Ask the servers to stop; asked twice it happens once."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except WorkManagerError as error:
            self.error = error
        except Exception as error:  # the border of a thread
            log.exception("grpc_thread_failed")
            self.error = error
        finally:
            self._house.bridge.soon(self.is_open.set)
            self._house.bridge.soon(self.has_ended.set)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        servers: list[grpc.aio.Server] = []
        try:
            if self._options.binds:
                servers.append(self._server(Door.TCP))
                self.urls += open_tcp(servers[-1], self._options)
            if self._options.unix_socket is not None:
                servers.append(self._server(Door.UNIX))
                self.urls.append(open_unix(servers[-1], self._options.unix_socket))
            for server in servers:
                await server.start()
            self._house.bridge.soon(self.is_open.set)
            await self._stop.wait()
        finally:
            stops = (server.stop(self._options.grace_s) for server in servers)
            await asyncio.gather(*stops)  # noqa: ASYNC102 - a thread that nobody cancels
            if self._options.unix_socket is not None:
                close_unix(self._options.unix_socket)

    def _server(self, door: Door) -> grpc.aio.Server:
        limits = self._house.limits()
        return grpc.aio.server(
            handlers=[Handlers(self._house, door, RPCS), *reflection_handlers(SERVICES)],
            options=[
                ("grpc.so_reuseport", 0),  # a second service on the same port is told so
                ("grpc.max_receive_message_length", max(limits.manifest, limits.code) + 2**20),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", self._options.max_streams),
                ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_S * 1000),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_MIN_S * 1000),
            ],
            maximum_concurrent_rpcs=MAX_CALLS,
        )
