"""The gRPC server: one asyncio thread, a door on TCP and one on a Unix socket.

Each door is a server of its own, for grpcio does not tell a handler which of its addresses a call
came to. Both share the thread, the rpcs and the bridges to the trio loop.

stop: no new call is taken; streams end with SHUTTING_DOWN; other calls have the grace period
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from workmanager.api.grpc.bridge import Bridge
from workmanager.api.grpc.handlers import House
from workmanager.api.grpc.idempotency import KeyedAnswers
from workmanager.api.grpc.thread import GrpcThread
from workmanager.api.listeners import ServerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from workmanager.api.auth import Auth
    from workmanager.api.grpc.doors import GrpcOptions
    from workmanager.api.protocol import Service
    from workmanager.api.rest.bodies import Limits
    from workmanager.api.rest.idempotency import IdempotencyStore

STOP_S = 5.0  # beyond the grace period, for the thread to end


@dataclass(frozen=True, slots=True)
class Backing:
    """What the calls are answered from.

    Attributes:
        service_for: The service as a principal (see `auth.admit`) may use it.
        answers: Where the answers to calls with an idempotency key are kept.
        limits: How large requests may be, as of now.
    """

    service_for: Callable[[str], Service]
    auth: Auth
    answers: IdempotencyStore
    limits: Callable[[], Limits]


async def serve_grpc(
    backing: Backing,
    options: GrpcOptions,
    *,
    shutdown: trio.Event,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until *shutdown* is set; `task_status` gets the URLs once they take calls.

    Raises:
        ServerError: An address is taken, not allowed, or cannot be bound; names which and why.
    """
    async with trio.open_nursery() as calls, trio.open_nursery() as streams:
        house = House(
            bridge=Bridge(calls),
            streams=Bridge(streams),
            service_for=backing.service_for,
            auth=backing.auth,
            answers=KeyedAnswers(backing.answers),
            limits=backing.limits,
        )
        async with _running(GrpcThread(house, options), options.grace_s) as thread:
            task_status.started(thread.urls)
            async with trio.open_nursery() as watching:
                watching.start_soon(_raise_when_ended, thread)
                await shutdown.wait()
                watching.cancel_scope.cancel()
            thread.stop()
            streams.cancel_scope.cancel()
        streams.cancel_scope.cancel()
        calls.cancel_scope.cancel()


async def _raise_when_ended(thread: GrpcThread) -> None:
    """Let the service fail with its gRPC, so that whoever runs it starts it again."""
    await thread.has_ended.wait()
    raise thread.error or ServerError("the gRPC server ended by itself; the log has the cause")


@asynccontextmanager
async def _running(thread: GrpcThread, grace_s: float) -> AsyncIterator[GrpcThread]:
    thread.start()
    try:
        await thread.is_open.wait()
        if thread.error is not None:
            raise thread.error
        yield thread
    finally:
        thread.stop()
        with trio.move_on_after(grace_s + STOP_S, shield=True):
            await thread.has_ended.wait()
