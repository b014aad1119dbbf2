"""The outermost layer of the API: nothing leaves it but well-formed answers with safe headers.

It also ends each request properly. Hypercorn 0.18 queues at most ten pieces of a body; when the
application answers without reading them and the client goes on sending, hypercorn's connection and
the application wait for each other for ever. So what the client still sends is read and thrown
away, for a bounded time, before and while the answer's last piece is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.api.problems import problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_S = 2.0  # for a client that reads the answer only after it has sent everything
LINGER_BYTES = 16 * 1024 * 1024

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
NO_CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

log = structlog.get_logger(__name__)


class Border:
    """Catch what the application lets through, add security headers, end requests properly."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "websocket":
            try:
                await self._app(scope, receive, send)
            except Exception:
                log.exception("socket_broken", path=scope["path"])  # hypercorn closes it
        elif scope["type"] == "http":
            await _Exchange(scope, receive, send).run(self._app)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._has_whole_request = False
        self._has_begun = False

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self.receive, self.send)
        except Exception as exc:
            if self._has_begun:
                log.exception("answer_broken", path=self._scope["path"])
                return  # hypercorn cuts the connection: the client sees that it is not whole
            response = problem_response(exc, instance=self._scope["path"])
            await response(self._scope, self.receive, self.send)

    async def receive(self) -> Message:
        message = await self._receive()
        if not (message["type"] == "http.request" and message.get("more_body", False)):
            self._has_whole_request = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_begun = True
            message["headers"] = _secured(message.get("headers", []))
        if (
            message.get("more_body", False)
            or message["type"] != "http.response.body"
            or self._has_whole_request
        ):
            await self._send(message)
        else:
            await self._send_last(message)

    async def _send_last(self, message: Message) -> None:
        await self._send({**message, "more_body": True})
        with trio.move_on_after(LINGER_S):
            await self._discard(LINGER_BYTES)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._discard, None)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            nursery.cancel_scope.cancel()

    async def _discard(self, max_bytes: int | None) -> None:
        """Receive up to *max_bytes*, or the whole rest, and forget it."""
        received = 0
        while not self._has_whole_request and (max_bytes is None or received < max_bytes):
            received += len((await self.receive()).get("body", b""))


def _secured(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Add the security headers that the answer does not set itself."""
    own = {name.lower() for name, _ in headers}
    return [
        *headers,
        *(pair for pair in (*SECURITY_HEADERS, NO_CONTENT_POLICY) if pair[0] not in own),
    ]
