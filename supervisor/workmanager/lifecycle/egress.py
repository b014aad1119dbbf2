"""Requests that the service makes for its workers: `context.http`, allowed by `spec.egress`.

A sandboxed worker has no network. What it may reach is decided here, where it cannot be talked out
of it: the rule, then every address that the name has, then a connection to the address that was
checked. Bodies, headers, time and the number of requests at once are bounded.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2
import structlog
import trio

from workmanager.engines.addresses import AddressError, look_up
from workmanager.policy.egress import decide, forbidden_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from workmanager.config import Settings
    from workmanager.executors.executor import Executor
    from workmanager.executors.requests import HttpRequest
    from workmanager.model.spec_egress import Egress as Rules
    from workmanager.model.spec_egress import EgressRule

MAX_WAITING = 64  # of a worker; more are refused
MAX_WAITING_BYTES = 16 * 2**20
MAX_HEADERS = 64
MAX_HEADER_BYTES = 32 * 2**10
PORTS = {"http": 80, "https": 443}

_tls_limiter = trio.CapacityLimiter(1)  # "tls": reading the trust store takes some 20 ms

log = structlog.get_logger()


class RefusedError(Exception):
    """The worker may not ask for that."""


class FailedError(Exception):
    """There is no answer."""


@dataclass(slots=True)
class _Line:
    """The requests of one worker; kept while there are any."""

    turns: trio.Semaphore
    requests: int = 0
    waiting: int = 0
    waiting_bytes: int = 0


@dataclass(slots=True)
class Egress:
    """Makes requests for executors, each in a trio task of *nursery*.

    Attributes:
        settings: Returns them as they are at the moment.
    """

    settings: Callable[[], Settings]
    nursery: trio.Nursery
    _lines: dict[str, _Line] = field(default_factory=dict)
    _trust: ssl.SSLContext | None = None

    def take(self, uid: str, rules: Rules, executor: Executor, request: HttpRequest) -> None:
        """Take a request of worker *uid*; the answer is sent to its *executor*. Never raises.

        Args:
            rules: Of the version that the executor runs.
        """
        try:
            prepared = _check(rules, request, self.settings())
        except RefusedError as error:
            self._refuse(executor, request, str(error))
            return
        line = self._line(uid, rules)
        size_bytes = len(request.body or b"")
        if line.waiting >= MAX_WAITING or line.waiting_bytes + size_bytes > MAX_WAITING_BYTES:
            self._fail(executor, request, "too many requests of the worker wait already")
            return
        line.requests += 1
        line.waiting += 1
        line.waiting_bytes += size_bytes
        self.nursery.start_soon(self._serve, uid, executor, prepared, line)

    async def _serve(self, uid: str, executor: Executor, prepared: _Prepared, line: _Line) -> None:
        """Make one request, unless its executor has gone meanwhile."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_with, executor, nursery.cancel_scope)
                await self._serve_safely(executor, prepared, line)
                nursery.cancel_scope.cancel()
        finally:
            line.requests -= 1
            if line.requests == 0:
                self._lines.pop(uid, None)

    async def _serve_safely(self, executor: Executor, prepared: _Prepared, line: _Line) -> None:
        try:
            await self._answer(executor, prepared, line)
        except Exception:  # a fault of ours in one request must stay there
            log.exception("egress_broke", worker=executor.worker)
            self._fail(executor, prepared.request, "the service failed")

    async def _answer(self, executor: Executor, prepared: _Prepared, line: _Line) -> None:
        request = prepared.request
        limit_s = min(prepared.limit_s, request.timeout_s)
        try:
            with trio.fail_after(limit_s):
                await self._take_turn(line, len(request.body or b""))
                try:
                    status, headers, body = await self._send(prepared)
                finally:
                    line.turns.release()
        except trio.TooSlowError:
            self._fail(executor, request, f"there was no answer within {limit_s:g} s")
        except RefusedError as error:
            self._refuse(executor, request, str(error))
        except FailedError as error:
            self._fail(executor, request, str(error))
        else:
            executor.answer(["http", request.id, status, headers, body])

    async def _take_turn(self, line: _Line, size_bytes: int) -> None:
        try:
            await line.turns.acquire()
        finally:
            line.waiting -= 1
            line.waiting_bytes -= size_bytes

    async def _send(self, prepared: _Prepared) -> tuple[int, list[tuple[str, str]], bytes]:
        addresses = await self._addresses(prepared)
        # No keep-alive: a connection verified for one name must not serve another at its address.
        pool = httpx2.Limits(max_keepalive_connections=0)
        trust = await self._trust_store()
        async with httpx2.AsyncClient(verify=trust, trust_env=False, limits=pool) as client:
            failure: Exception | None = None
            for address in addresses:
                try:
                    return await _ask(client, prepared, address)
                except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                    failure = error
                except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                    raise FailedError(f"{prepared.place} failed: {_words(error)}") from error
        raise FailedError(f"{prepared.place} cannot be connected to: {_words(failure)}")

    async def _addresses(self, prepared: _Prepared) -> list[str]:
        allow_private = self.settings().allow_private_urls
        try:
            return await look_up(prepared.host, prepared.port, allow_private=allow_private)
        except AddressError as error:
            kind = RefusedError if error.is_refused else FailedError
            raise kind(str(error)) from error

    async def _trust_store(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = await trio.to_thread.run_sync(
                ssl.create_default_context, limiter=_tls_limiter, thread_name="tls"
            )
        return self._trust

    def _line(self, uid: str, rules: Rules) -> _Line:
        line = self._lines.get(uid)
        if line is None:
            line = self._lines[uid] = _Line(trio.Semaphore(rules.concurrency))
        return line

    def _refuse(self, executor: Executor, request: HttpRequest, why: str) -> None:
        log.info("egress_refused", worker=executor.worker, executor=executor.id, why=why)
        executor.answer(["http", request.id, "refused", why])

    def _fail(self, executor: Executor, request: HttpRequest, why: str) -> None:
        log.info("egress_failed", worker=executor.worker, executor=executor.id, why=why)
        executor.answer(["http", request.id, "failed", why])


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request that is allowed."""

    request: HttpRequest
    url: httpx2.URL
    rule: EgressRule
    limit_s: float

    @property
    def host(self) -> str:
        """As DNS has it."""
        return self.url.raw_host.decode()

    @property
    def port(self) -> int:
        """Explicit or the scheme's."""
        return self.url.port or PORTS[self.url.scheme]

    @property
    def place(self) -> str:
        """For people; the rest of the URL may be a secret."""
        return f"{self.url.scheme}://{self.host}:{self.port}"


def _check(rules: Rules, request: HttpRequest, settings: Settings) -> _Prepared:
    try:
        url = httpx2.URL(request.url)
    except (httpx2.InvalidURL, ValueError) as error:
        raise RefusedError(f"this is no URL: {error}") from error
    if url.scheme not in PORTS or not url.host:
        raise RefusedError("an https:// URL with a host is needed")
    if url.scheme == "http" and not settings.allow_http_urls:
        raise RefusedError("http is not encrypted; use https, or let the operator allow http")
    if url.userinfo:
        raise RefusedError("the URL holds credentials; put them into a header")
    host = url.raw_host.decode().lower().rstrip(".")
    verdict = decide(rules, method=request.method, host=host, port=url.port or PORTS[url.scheme])
    if verdict.rule is None:
        raise RefusedError(verdict.why)
    size_bytes = len(request.body or b"")
    if size_bytes > verdict.rule.max_bytes:
        limit = verdict.rule.max_bytes
        raise RefusedError(f"a body of {size_bytes} bytes; maxBytes of its rule is {limit}")
    _check_headers(request)
    return _Prepared(request, url, verdict.rule, rules.timeout_s)


def _check_headers(request: HttpRequest) -> None:
    size = sum(len(name) + len(value) for name, value in request.headers)
    if len(request.headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise RefusedError(f"more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them")
    for name, value in request.headers:
        if forbidden_header(name):
            raise RefusedError(f"header {name!r} is the service's to set")
        if not name.isascii() or not (name + value).isprintable() or not name:
            raise RefusedError(f"header {name!r} has characters that a header cannot have")


async def _ask(
    client: httpx2.AsyncClient, prepared: _Prepared, address: str
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Ask one address, in the name of the URL's host (Host and SNI)."""
    request = client.build_request(
        prepared.request.method,
        prepared.url.copy_with(host=address),
        headers=[
            ("Host", prepared.url.netloc.decode()),
            ("User-Agent", "workmanager"),
            ("Accept-Encoding", "identity"),  # a small body must not unfold into a huge one
            *prepared.request.headers,
        ],
        content=prepared.request.body,
        extensions={"sni_hostname": prepared.url.raw_host.decode()},
        timeout=httpx2.Timeout(None),  # the caller has a deadline for all of it
    )
    response = await client.send(request, stream=True)
    try:
        body = await _body(prepared, response)
        return response.status_code, _headers(response), body
    finally:
        await response.aclose()


def _headers(response: httpx2.Response) -> list[tuple[str, str]]:
    kept: list[tuple[str, str]] = []
    left = MAX_HEADER_BYTES
    for name, value in response.headers.multi_items():
        left -= len(name) + len(value)
        if left < 0 or len(kept) >= MAX_HEADERS:
            raise FailedError("the answer has too many headers")
        kept.append((name, value))
    return kept


async def _body(prepared: _Prepared, response: httpx2.Response) -> bytes:
    limit = prepared.rule.max_bytes
    body = bytearray()
    # Cancelled, not left: what aiter_raw is made of (httpcore2 2.16) is only closed by an
    # exception that runs through it, and warns at its collection otherwise.
    with trio.CancelScope() as enough:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > limit:
                enough.cancel()
    if len(body) > limit:
        raise FailedError(f"the answer is larger than {limit} bytes, maxBytes of its rule")
    return bytes(body)


async def _cancel_with(executor: Executor, scope: trio.CancelScope) -> None:
    await executor.gone.wait()
    scope.cancel()


def _words(error: BaseException | None) -> str:
    """Find the words of an error: transports wrap the one that has them."""
    while error is not None:
        if str(error):
            return str(error)
        error = error.__cause__ or error.__context__
    return "no address answered"
