"""Changes by WebSocket, on trio.

One message holds `{"changes": [...]}`, or `{"error": problem}` before the service closes it.
"""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    wrap_client_stream,
)

from workmanager.client.connection import CONNECT_TIMEOUT_S, MAX_BODY_BYTES
from workmanager.client.problems import (
    ClientTimeoutError,
    ConnectionLostError,
    NoSupervisorError,
    problem_from,
    problem_of,
)
from workmanager.client.rest_form import http_form
from workmanager.client.streams import SILENCE_S
from workmanager.client.tls import tls_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_websocket import WebSocketConnection

    from workmanager.client.call import Call, Json
    from workmanager.client.target import Target

_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

PATH = "/v1/watch"
FAREWELL_S = 1.0  # for the service to close its side


async def open_websocket(
    target: Target, call: Call[Any], *, token: str, nursery: trio.Nursery
) -> WebSocketSource:
    """Open the WebSocket that stands for *call*; it runs in *nursery*.

    Raises:
        ClientError: The service refused it, or nothing listens there.
    """
    form = http_form(call, token=token)
    path = PATH + form.path[form.path.index("?") :]
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    stream = await _connect(target)
    try:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            connection = await nursery.start(_run, stream, target, path, headers)
    except trio.TooSlowError as error:
        raise ClientTimeoutError(str(target), CONNECT_TIMEOUT_S) from error
    return WebSocketSource(connection, target)


async def _run(
    stream: _Stream,
    target: Target,
    path: str,
    headers: list[tuple[bytes, bytes]],
    task_status: trio.TaskStatus[WebSocketConnection],
) -> None:
    """Run one connection; its reader raises, in a nursery of its own, where it is refused."""
    refusal: Exception | None = None
    is_open = False
    try:
        async with trio.open_nursery() as own:
            connection = await wrap_client_stream(
                own,
                stream,
                target.authority,
                path,
                extra_headers=headers,
                max_message_size=MAX_BODY_BYTES,
            )
            is_open = True
            task_status.started(connection)
    except* _REFUSALS as group:
        refusal = _first_of(group)
    finally:
        await trio.aclose_forcefully(stream)
    if is_open:  # its reader knows, and so does who waits for its messages
        return
    if isinstance(refusal, ConnectionRejected):
        named = {name.decode().lower(): value.decode() for name, value in refusal.headers or ()}
        raise problem_from(refusal.status_code, named, bytes(refusal.body or b"")) from refusal
    if refusal is not None:
        cause = str(refusal) or type(refusal).__name__
        raise ConnectionLostError(str(target), cause) from refusal


_REFUSALS = (HandshakeError, ConnectionClosed, OSError, trio.BrokenResourceError)


def _first_of(group: BaseExceptionGroup[Exception]) -> Exception:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _connect(target: Target) -> _Stream:
    try:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            if target.socket_path is not None:
                return await trio.open_unix_socket(target.socket_path)
            plain = await trio.open_tcp_stream(target.host, target.port)
            if not target.is_tls:
                return plain
            secure = trio.SSLStream(plain, tls_context(target), server_hostname=target.host)
            await secure.do_handshake()
            return secure
    except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
        may_pass = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
        cause = str(error) or "it does not take the connection"
        raise NoSupervisorError(str(target), cause, may_pass=may_pass) from error


class WebSocketSource:
    """An open WebSocket."""

    def __init__(self, connection: WebSocketConnection, target: Target) -> None:
        self._connection = connection
        self._target = str(target)

    async def receive(self) -> Sequence[Json]:
        """Wait for changes and return those that came."""
        try:
            with trio.fail_after(SILENCE_S):
                text = await self._connection.get_message()
        except ConnectionClosed as error:
            raise ConnectionLostError(self._target, "the WebSocket was closed") from error
        except trio.TooSlowError as error:
            raise ClientTimeoutError(self._target, SILENCE_S) from error
        message = json.loads(text)
        if "error" in message:
            raise problem_of(message["error"])
        changes: list[Json] = message["changes"]
        return changes

    async def close(self) -> None:
        """Close it; a service that does not answer is not waited for."""
        with trio.move_on_after(FAREWELL_S):
            await self._connection.aclose()
