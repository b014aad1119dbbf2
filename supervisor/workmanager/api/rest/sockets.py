"""Pushing over a WebSocket: a loop that sends always has one beside it that receives.

Hypercorn's `send` to a client that has gone returns at once, without a checkpoint (0.18): a bare
`while True: await websocket.send_text(...)` would stop the whole trio loop. So every push goes
through here. What the client says is read and thrown away; its going ends the push.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog
import trio
from starlette.websockets import WebSocketDisconnect

from workmanager.api.problems import as_error, problem_document
from workmanager.api.turns import TURNS
from workmanager.errors import Reason, SlowReaderError, WorkManagerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.websockets import WebSocket

GOING_AWAY = 1001  # RFC 6455, 7.4.1
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013  # IANA's registry of close codes
GRACE_S = 5.0  # for what is being sent to a client that was cut off
FAREWELL_S = 5.0  # then, for a client that reads on and learns why

log = structlog.get_logger(__name__)


async def push(
    websocket: WebSocket, take: Callable[[], Awaitable[str]], *, dropped: trio.Event | None = None
) -> None:
    """Send what *take* gives until the client goes, the service stops, or *take* raises.

    Args:
        websocket: Accepted already; it is closed here, with the reason.
        take: Waits for the next text. A WorkManagerError is told as `{"error": problem}`.
        dropped: Set when what is being sent is not worth waiting for any more.
    """
    stopping = cast("trio.Event | None", websocket.scope.get("state", {}).get("stopping"))
    end = _End()
    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope
        nursery.start_soon(_cancel_when_gone, websocket, scope, end)
        if stopping is not None:
            nursery.start_soon(_cancel_after, stopping.wait, scope)
        if dropped is not None:
            nursery.start_soon(_cancel_after, partial(_grace, dropped), scope)
        try:
            while True:
                text = await take()
                await TURNS.wait()
                await websocket.send_text(text)
                await trio.lowlevel.checkpoint()
        except Exception as exc:  # noqa: BLE001 - the border of a stream
            end.error = as_error(exc) or _internal(exc)
        scope.cancel()
    if dropped is not None and dropped.is_set() and end.error is None:
        end.error = SlowReaderError("cut off: what waited was not read; list again")
    if not end.is_gone:
        with trio.move_on_after(FAREWELL_S):
            await _close(websocket, end.error)


class _End:
    """Why a push ended."""

    is_gone = False
    error: WorkManagerError | None = None


async def _cancel_when_gone(websocket: WebSocket, scope: trio.CancelScope, end: _End) -> None:
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                break
    except (RuntimeError, WebSocketDisconnect):
        pass  # it was closed from here
    end.is_gone = True
    scope.cancel()


async def _cancel_after(wait: Callable[[], Awaitable[object]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


async def _grace(dropped: trio.Event) -> None:
    await dropped.wait()
    await trio.sleep(GRACE_S)


async def _close(websocket: WebSocket, error: WorkManagerError | None) -> None:
    if error is None:
        await websocket.close(GOING_AWAY, "the service is stopping")
        return
    await websocket.send_text(json.dumps({"error": problem_document(error)}))
    is_internal = error.reason is Reason.INTERNAL
    await websocket.close(INTERNAL_ERROR if is_internal else TRY_AGAIN_LATER, error.reason.name)


def _internal(exc: Exception) -> WorkManagerError:
    log.error("push_failed", exc_info=exc)
    return WorkManagerError("the service failed on this stream; its log has the cause")
