"""Calls to the service: one kept connection, the token, retries of what may be repeated."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workmanager.client.connection import Connection, Request, Response
from workmanager.client.problems import (
    ClientError,
    ConnectionLostError,
    NoSupervisorError,
    ProblemError,
    problem_from,
)
from workmanager.client.wire import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workmanager.client.target import Target

Query = Mapping[str, str | int | float | bool | None]

RETRY_DELAYS_S = (
    0.05,
    0.2,
)  # a restart of the service takes longer: that is for the caller to wait
DEFAULT_TIMEOUT_S = 30.0
FIRST_ERROR_STATUS = 300  # redirects are not followed: the token would go where they point


@dataclass(frozen=True, slots=True)
class Call:
    """One call: *query* members that are None or empty are left out.

    `is_idempotent` allows it to be sent again after the connection was lost; None allows it for
    GET, PUT and DELETE.
    """

    method: str
    path: str
    query: Query = field(default_factory=dict)
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    is_idempotent: bool | None = None
    timeout_s: float | None = None


class Session:
    """Holds the connection to one target; not for use by several threads at once."""

    def __init__(
        self, target: Target, *, token: str = "", timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self.target = target
        self._token = token
        self._timeout_s = timeout_s
        self._connection: Connection | None = None

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self, call: Call) -> dict[str, Any]:
        """Return the JSON object that answers *call*; `{}` for an answer without a body.

        Raises:
            ProblemError: The service refused it.
            ClientError: There was no answer, see `workmanager.client.problems`.
        """
        response = self.send(call)
        if not response.body:
            return {}
        try:
            document = json.loads(response.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ProblemError("NOT_JSON", response.status, f"{call.path} answered no JSON object")
        return document

    def send(self, call: Call) -> Response:
        """Return the answer to *call*, as it came; errors as in `ask`."""
        for delay_s in RETRY_DELAYS_S if _may_repeat(call) else ():
            try:
                return self._send_once(call)
            except (ConnectionLostError, NoSupervisorError) as error:
                if not _may_pass(error):
                    raise
                time.sleep(delay_s)
        return self._send_once(call)

    @contextmanager
    def stream(self, call: Call) -> Iterator[Iterator[bytes]]:
        """Give the chunks of an answer without end, on a connection of its own."""
        connection = Connection(self.target, timeout_s=self._timeout_s)
        try:
            head = connection.open(self._request(call), timeout_s=self._limit_s(call))
            if head.status >= FIRST_ERROR_STATUS:
                raise problem_from(head.status, head.headers, b"".join(connection.chunks()))
            yield connection.chunks()
        finally:
            connection.close()

    def _send_once(self, call: Call) -> Response:
        response = self._exchange(call)
        if response.status >= FIRST_ERROR_STATUS:
            raise problem_from(response.status, response.headers, response.body)
        return response

    def _exchange(self, call: Call) -> Response:
        connection = self._connection
        if connection is None or not connection.is_reusable:
            self.close()
            connection = self._connection = Connection(self.target, timeout_s=self._timeout_s)
        return connection.call(self._request(call), timeout_s=self._limit_s(call))

    def _limit_s(self, call: Call) -> float:
        return self._timeout_s if call.timeout_s is None else call.timeout_s

    def _request(self, call: Call) -> Request:
        headers = {"accept": "application/json", "user-agent": "workmanager-client", **call.headers}
        if call.body:
            headers["content-type"] = call.content_type
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        return Request(call.method, _with_query(call), headers, call.body)


def _may_repeat(call: Call) -> bool:
    if call.is_idempotent is not None:
        return call.is_idempotent
    return call.method in ("GET", "PUT", "DELETE")


def _may_pass(error: ClientError) -> bool:
    """Tell whether a moment later may be better: a wrong certificate or a silent host stay so."""
    restarting = (ConnectionRefusedError, FileNotFoundError)
    return isinstance(error, ConnectionLostError) or isinstance(error.__cause__, restarting)


def _with_query(call: Call) -> str:
    given = ((name, value) for name, value in call.query.items() if value not in (None, ""))
    query = "&".join(f"{quote(name)}={quote(_text(value))}" for name, value in given)
    return f"{call.path}?{query}" if query else call.path


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
