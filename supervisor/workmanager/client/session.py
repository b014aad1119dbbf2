"""The way to a service over REST: connections that are kept, and streams of server-sent events."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from workmanager.client.connection import Connection
from workmanager.client.problems import ConnectionLostError, problem_from, problem_of
from workmanager.client.rest_form import FIRST_ERROR_STATUS, http_form, read_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workmanager.client.call import Call, Json
    from workmanager.client.sse import ServerSentEvent
    from workmanager.client.streams import Follow
    from workmanager.client.target import Target


class Session:
    """Holds the idle connections to one target; threads may share it.

    Args:
        timeout_s: The longest silence of the service, in seconds, before a call gives up.
    """

    def __init__(self, target: Target, *, token: str, timeout_s: float) -> None:
        self._target = target
        self._token = token
        self._timeout_s = timeout_s
        self._idle: deque[Connection] = deque()  # its append and pop are atomic

    def close(self) -> None:
        """Close the idle connections; the next call opens another."""
        while connection := self._take():
            connection.close()

    def ask(self, call: Call[Any]) -> Json:
        """Return the answer to *call*, sent once.

        Raises:
            ClientError: It was refused, or there was no answer.
        """
        form = http_form(call, token=self._token)
        connection = self._take_reusable()
        try:
            response = connection.call(form, timeout_s=self._limit_s(call))
        except BaseException:  # its answer may still come; the next call must not read it
            connection.close()
            raise
        self._idle.append(connection)
        return read_answer(call, response.status, response.headers, response.body)

    def open(self, follow: Follow) -> EventSource:
        """Open a stream on a connection of its own."""
        timeout_s = self._limit_s(follow.call)
        connection = Connection(self._target, timeout_s=timeout_s)
        try:
            head = connection.open(http_form(follow.call, token=self._token), timeout_s=timeout_s)
            if head.status >= FIRST_ERROR_STATUS:
                raise problem_from(head.status, head.headers, b"".join(connection.chunks()))
        except BaseException:
            connection.close()
            raise
        return EventSource(connection, str(self._target))

    def _take_reusable(self) -> Connection:
        while connection := self._take():
            if connection.is_reusable:
                return connection
            connection.close()
        return Connection(self._target, timeout_s=self._timeout_s)

    def _take(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _limit_s(self, call: Call[Any]) -> float:
        return self._timeout_s if call.timeout_s is None else call.timeout_s


class EventSource:
    """An open stream of server-sent events, each a JSON object."""

    def __init__(self, connection: Connection, target: str) -> None:
        self._connection = connection
        self._target = target
        from workmanager.client.sse import EventStreamReader  # most calls need none

        self._chunks: Iterator[bytes] = connection.chunks()
        self._reader = EventStreamReader()

    def receive(self) -> Sequence[Json]:
        """Wait for items and return those that came."""
        chunk = next(self._chunks, None)
        if chunk is None:
            raise ConnectionLostError(self._target, "the stream ended")
        return [document_of(event) for event in self._reader.feed(chunk)]

    def close(self) -> None:
        """End it."""
        self._connection.close()


def document_of(event: ServerSentEvent) -> Json:
    """Return what an event tells.

    Raises:
        ProblemError: It tells why the stream ends.
    """
    document: Json = json.loads(event.data)
    if event.name == "error":
        raise problem_of(document)
    return document
