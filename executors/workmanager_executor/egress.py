"""`context.http`: requests that the supervisor makes, for an executor that has no network.

request = ["http", id, method, url, [[name, value], ...], body or nil, timeout_s]
answer  = ["http", id, status, [[name, value], ...], body]
refusal = ["http", id, kind, message]              kind: "refused" or "failed"

Which hosts may be asked stands in the worker's `spec.egress`, and is decided there.
"""

from __future__ import annotations

import asyncio
import json
import queue
from itertools import count
from typing import TYPE_CHECKING

from workmanager_executor.contract import NonRetryable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from typing import Callable, Dict, List, Optional, Tuple, Union

    from workmanager_executor.attempt import Attempt
    from workmanager_executor.frames import Frame
    from workmanager_executor.writer import FrameWriter

    Headers = Mapping[str, str]
    Body = Union[bytes, str, None]
    Deliver = Callable[[Frame], None]
    Reply = Union["HttpResponse", Awaitable["HttpResponse"]]

MAX_TIMEOUT_S = 600.0
_GRACE_S = 15.0  # the supervisor answers in time; this is for one that does not
_LOOK_S = 0.2  # how often a waiting thread looks whether its attempt is cancelled
_MAX_BODY_BYTES = 8 * 1024 * 1024


class HttpError(Exception):
    """A request got no answer: the name, the connection, the time or the size failed."""


class HttpRefused(NonRetryable):
    """A request that `spec.egress` does not allow; the message says what would."""


class HttpResponse:
    """What a server answered, whatever its status.

    Attributes:
        status: Its code.
        headers: By lower-case name; values of repeated ones are joined by commas.
        body: The bytes as they came.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: List[List[str]], body: bytes) -> None:
        self.status = status
        self.headers: Dict[str, str] = {}
        for name, value in headers:
            old = self.headers.get(name.lower())
            self.headers[name.lower()] = value if old is None else old + ", " + value
        self.body = body

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status}, {len(self.body)} bytes>"

    @property
    def ok(self) -> bool:
        """Whether the status is one of success (2xx)."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text, by the charset of its content-type, else UTF-8."""
        _, _, charset = self.headers.get("content-type", "").lower().partition("charset=")
        name = charset.partition(";")[0].strip(" \"'") or "utf-8"
        try:
            return self.body.decode(name, "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    def json(self) -> object:
        """Return the body's JSON value.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body)


class Desk:
    """Requests on their way, and who waits for them; one for the whole executor."""

    __slots__ = ("_ids", "_waiting", "_writer")

    def __init__(self, writer: FrameWriter) -> None:
        self._writer = writer
        self._ids = count(1)
        self._waiting: Dict[int, Deliver] = {}

    def send(self, request: List[object], deliver: Deliver) -> int:
        """Send a request; *deliver* gets the answer, in the side thread."""
        number = next(self._ids)
        self._waiting[number] = deliver
        self._writer.send(["http", number, *request])
        return number

    def forget(self, number: int) -> None:
        """Drop an answer that nobody waits for any more."""
        self._waiting.pop(number, None)

    def answer(self, frame: Frame) -> None:
        """Hand an answer to who waits for it; one that comes too late is dropped."""
        number = frame[1]
        deliver = self._waiting.pop(number, None) if isinstance(number, int) else None
        if deliver is not None:
            deliver(frame)


class Http:
    """Makes requests; in an `async` handler each call has to be awaited."""

    __slots__ = ("_attempt", "_desk")

    def __init__(self, desk: Desk, attempt: Optional[Attempt]) -> None:
        self._desk = desk
        self._attempt = attempt

    def get(
        self, url: str, *, headers: Optional[Headers] = None, timeout_s: float = MAX_TIMEOUT_S
    ) -> Reply:
        """GET *url*; see `request`."""
        return self.request("GET", url, headers=headers, timeout_s=timeout_s)

    def post(
        self,
        url: str,
        body: Body = None,
        *,
        json: object = None,
        headers: Optional[Headers] = None,
        timeout_s: float = MAX_TIMEOUT_S,
    ) -> Reply:
        """POST to *url*; see `request`."""
        return self.request("POST", url, body=body, json=json, headers=headers, timeout_s=timeout_s)

    def request(
        self,
        method: str,
        url: str,
        *,
        body: Body = None,
        json: object = None,
        headers: Optional[Headers] = None,
        timeout_s: float = MAX_TIMEOUT_S,
    ) -> Reply:
        """Make a request; redirects are answers, they are not followed.

        Args:
            body: Bytes, or text that is sent as UTF-8.
            json: Instead of a body: any JSON value.
            timeout_s: `egress.timeout` bounds it, too.

        Raises:
            HttpRefused: `spec.egress` does not allow it.
            HttpError: There is no answer.
        """
        wire = _wire(method, url, body, json, headers, timeout_s)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._wait(wire)
        return self._wait_in(loop, wire)

    def _wait(self, wire: List[object]) -> HttpResponse:
        answers: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        number = self._desk.send(wire, answers.put)
        left_s = float(str(wire[-1])) + _GRACE_S
        while left_s > 0:
            try:
                return _response_of(answers.get(timeout=_LOOK_S))
            except queue.Empty:
                left_s -= _LOOK_S
            if self._attempt is not None and self._attempt.is_cancelled:
                self._desk.forget(number)
                raise HttpError("the attempt was cancelled while the request was under way")
        self._desk.forget(number)
        raise HttpError("the service did not answer")

    async def _wait_in(self, loop: asyncio.AbstractEventLoop, wire: List[object]) -> HttpResponse:
        future: asyncio.Future[Frame] = loop.create_future()

        def settle(frame: Frame) -> None:
            if not future.done():
                future.set_result(frame)

        number = self._desk.send(wire, lambda frame: _call_in(loop, settle, frame))
        try:
            frame = await asyncio.wait_for(future, float(str(wire[-1])) + _GRACE_S)
        except asyncio.TimeoutError:
            raise HttpError("the service did not answer") from None
        finally:
            self._desk.forget(number)
        return _response_of(frame)


def _call_in(loop: asyncio.AbstractEventLoop, settle: Deliver, frame: Frame) -> None:
    try:
        loop.call_soon_threadsafe(settle, frame)
    except RuntimeError:
        return  # the loop has been closed: nobody waits


def _wire(
    method: str,
    url: str,
    body: Body,
    value: object,
    headers: Optional[Headers],
    timeout_s: float,
) -> List[object]:
    if value is not None and body is not None:
        raise ValueError("give body or json, not both")
    pairs: List[Tuple[str, str]] = [(str(k), str(v)) for k, v in (headers or {}).items()]
    raw = body.encode() if isinstance(body, str) else body
    if value is not None:
        raw = json.dumps(value, separators=(",", ":")).encode()
        if not any(name.lower() == "content-type" for name, _ in pairs):
            pairs.append(("content-type", "application/json"))
    if raw is not None and not isinstance(raw, (bytes, bytearray, memoryview)):
        raise TypeError(f"body: bytes or text are needed, not {type(raw).__name__}")
    if raw is not None and len(raw) > _MAX_BODY_BYTES:
        raise HttpRefused(f"a body of {len(raw)} bytes is more than any rule allows")
    limit_s = min(max(float(timeout_s), 0.001), MAX_TIMEOUT_S)
    return [str(method).upper(), str(url), pairs, None if raw is None else bytes(raw), limit_s]


def _response_of(frame: Frame) -> HttpResponse:
    if len(frame) == 5:
        _, _, status, headers, body = frame
        return HttpResponse(status, headers, body)  # type: ignore[arg-type] # as the supervisor says
    _, _, kind, message = frame
    if kind == "refused":
        raise HttpRefused(str(message))
    raise HttpError(str(message))
