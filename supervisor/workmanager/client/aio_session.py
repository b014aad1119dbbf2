"""The way of the asynchronous client to a service over REST; see `session`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import anyio

from workmanager.client.aio_connection import AsyncConnection, connect
from workmanager.client.problems import ConnectionLostError, problem_from
from workmanager.client.rest_form import FIRST_ERROR_STATUS, http_form, read_answer
from workmanager.client.session import document_of
from workmanager.client.sse import EventStreamReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    import trio

    from workmanager.client.aio_streams import AsyncSource
    from workmanager.client.call import Call, Json
    from workmanager.client.streams import Follow
    from workmanager.client.target import Target

CLOSE_S = 1.0  # it is closed at once; nothing is waited for


class AsyncSession:
    """Holds the idle connections to one target; tasks may share it.

    Args:
        timeout_s: The longest silence of the service, in seconds, before a call gives up.
    """

    def __init__(self, target: Target, *, token: str, timeout_s: float) -> None:
        self._target = target
        self._token = token
        self._timeout_s = timeout_s
        self._idle: deque[AsyncConnection] = deque()

    async def close(self) -> None:
        """Close the idle connections; the next call opens another."""
        while self._idle:
            await self._idle.pop().close()

    async def ask(self, call: Call[Any]) -> Json:
        """Return the answer to *call*, sent once.

        Raises:
            ClientError: It was refused, or there was no answer.
        """
        form = http_form(call, token=self._token)
        connection = await self._take_reusable()
        try:
            response = await connection.call(form, timeout_s=self._limit_s(call))
        except BaseException:  # its answer may still come; the next call must not read it
            with anyio.move_on_after(CLOSE_S, shield=True):
                await connection.close()
            raise
        self._idle.append(connection)
        return read_answer(call, response.status, response.headers, response.body)

    async def open(self, follow: Follow, nursery: trio.Nursery | None) -> AsyncSource:
        """Open a stream: changes by WebSocket on trio, all else by server-sent events."""
        if nursery is not None and follow.items == "changes":
            from workmanager.client.websocket import open_websocket

            return await open_websocket(
                self._target, follow.call, token=self._token, nursery=nursery
            )
        timeout_s = self._limit_s(follow.call)
        connection = await connect(self._target)
        try:
            await self._begin(connection, follow.call, timeout_s)
        except BaseException:
            with anyio.move_on_after(CLOSE_S, shield=True):
                await connection.close()
            raise
        return _EventSource(connection, str(self._target), timeout_s)

    async def _begin(self, connection: AsyncConnection, call: Call[Any], timeout_s: float) -> None:
        head = await connection.open(http_form(call, token=self._token), timeout_s=timeout_s)
        if head.status < FIRST_ERROR_STATUS:
            return
        body = b""
        while (chunk := await connection.chunk(timeout_s=timeout_s)) is not None:
            body += chunk
        raise problem_from(head.status, head.headers, body)

    async def _take_reusable(self) -> AsyncConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
            await connection.close()
        return await connect(self._target)

    def _limit_s(self, call: Call[Any]) -> float:
        return self._timeout_s if call.timeout_s is None else call.timeout_s


class _EventSource:
    """An open stream of server-sent events, each a JSON object."""

    def __init__(self, connection: AsyncConnection, target: str, timeout_s: float) -> None:
        self._connection = connection
        self._target = target
        self._timeout_s = timeout_s
        self._reader = EventStreamReader()

    async def receive(self) -> Sequence[Json]:
        """Wait for items and return those that came."""
        chunk = await self._connection.chunk(timeout_s=self._timeout_s)
        if chunk is None:
            raise ConnectionLostError(self._target, "the stream ended")
        return [document_of(event) for event in self._reader.feed(chunk)]

    async def close(self) -> None:
        """End it."""
        await self._connection.close()
