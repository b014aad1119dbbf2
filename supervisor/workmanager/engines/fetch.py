"""Fetching a worker's code from a URL, with every bound that foreign URLs and servers call for.

Each hop is checked anew: scheme, credentials, and every address of its host. The connection goes to
the address that was checked while Host and SNI keep the name, so no second look-up can lead
elsewhere. Proxies from the environment are not used: they would resolve names on their own.
"""

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import httpx2
import trio

from workmanager.engines.addresses import resolve
from workmanager.errors import CodeError, Reason
from workmanager.model.code import check_digest
from workmanager.model.names import canonical_engine

__all__ = ["FetchOptions", "Fetched", "check_digest", "fetch_code"]

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}
_USER_PART = re.compile(r"//[^/]*@")
_SHOWN_CHARS: Final = 300
_TLS_THREADS = trio.CapacityLimiter(1)  # reading the trust store takes some 20 ms


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """The bounds of a fetch.

    Attributes:
        max_bytes: Of the body; more is refused as soon as it is announced or has come.
        timeout_s: For everything: look-ups, redirects, the last byte.
        allow_private: Whether loopback and private networks may be reached.
        allow_http: Whether the way may be unencrypted, at any hop.
    """

    max_bytes: int
    timeout_s: float
    allow_private: bool = False
    allow_http: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL led to; *media_type* is as the server says, lower case and bare, "" if silent."""

    content: bytes
    media_type: str


async def fetch_code(url: str, options: FetchOptions) -> Fetched:
    """Fetch code from an http or https URL.

    Raises:
        CodeError: CODE_FETCH_FAILED, naming what failed and which limit it met.
    """
    try:
        with trio.fail_after(options.timeout_s):
            return await _follow(url, options)
    except trio.TooSlowError as error:
        raise _error(url, f"was not done within {options.timeout_s:g} s") from error


async def _follow(url: str, options: FetchOptions) -> Fetched:
    trust = await trio.to_thread.run_sync(ssl.create_default_context, limiter=_TLS_THREADS)
    # No keep-alive: a connection verified for one name must not serve another at its address.
    pool = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(verify=trust, trust_env=False, limits=pool) as client:
        for _ in range(MAX_REDIRECTS + 1):
            found = await _hop(client, _checked(url, options), options)
            if isinstance(found, Fetched):
                return found
            url = found
    raise _error(url, f"is the end of more than {MAX_REDIRECTS} redirects")


def _checked(text: str, options: FetchOptions) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as error:
        raise _error(text, f"is no URL: {error}") from error
    port = _PORTS.get(url.scheme, 0) if url.port is None else url.port
    if url.scheme not in _PORTS or not url.host or not 0 < port < 2**16:
        raise _error(text, "is not an http or https URL")
    if url.scheme == "http" and not options.allow_http:
        raise _error(text, "is not encrypted; use https, or let the operator allow http")
    if url.userinfo:
        raise _error(text, "holds credentials; code is fetched without any")
    return url


async def _hop(client: httpx2.AsyncClient, url: httpx2.URL, options: FetchOptions) -> Fetched | str:
    """Ask one server; returns the code, or the URL it redirects to."""
    addresses = await resolve(
        url.raw_host.decode(), url.port or _PORTS[url.scheme], allow_private=options.allow_private
    )
    failure: httpx2.TransportError | None = None
    for address in addresses:
        request = _request(client, url, address, connect_s=options.timeout_s / len(addresses))
        try:
            response = await client.send(request, stream=True)
            try:
                return await _read(url, response, options)
            finally:
                await response.aclose()
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            failure = error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _error(str(url), f"failed: {_words(error)}") from error
    raise _error(str(url), f"cannot be connected to: {_words(failure)}") from failure


def _request(
    client: httpx2.AsyncClient, url: httpx2.URL, address: str, *, connect_s: float
) -> httpx2.Request:
    """Build a request to *address* that names the host of *url*, in Host and SNI alike."""
    return client.build_request(
        "GET",
        url.copy_with(host=address),
        headers={
            "Host": url.netloc.decode(),
            "User-Agent": "workmanager",
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # a small body must not unfold into a huge one
        },
        extensions={"sni_hostname": url.raw_host.decode()},
        timeout=httpx2.Timeout(None, connect=connect_s),  # the rest is under the caller's deadline
    )


async def _read(url: httpx2.URL, response: httpx2.Response, options: FetchOptions) -> Fetched | str:
    status = response.status_code
    location = response.headers.get("location")
    if status in _REDIRECTS and location is not None:
        return str(url.join(location))
    if status != httpx2.codes.OK:
        raise _error(str(url), f"answered with status {status}", status=str(status))
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _error(str(url), "answered with an encoding that was not asked for")
    content = await _body(url, response, options.max_bytes)
    if not content:
        raise _error(str(url), "answered with an empty body")
    return Fetched(content, canonical_engine(response.headers.get("content-type", "")))


async def _body(url: httpx2.URL, response: httpx2.Response, max_bytes: int) -> bytes:
    body = bytearray()
    if _announced(response) <= max_bytes:
        # Cancelled, not left: what aiter_raw is made of (httpcore2 2.16) is only closed by an
        # exception that runs through it, and warns at its collection otherwise.
        with trio.CancelScope() as enough:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > max_bytes:
                    enough.cancel()
        if len(body) <= max_bytes:
            return bytes(body)
    raise _error(str(url), f"is larger than {max_bytes} bytes", limitBytes=str(max_bytes))


def _announced(response: httpx2.Response) -> int:
    text = response.headers.get("content-length", "")
    return int(text[:19]) if text.isdecimal() else 0  # 19 digits are beyond any limit


def _words(error: BaseException | None) -> str:
    """Find the words of an error: transports wrap the one that has them."""
    return next((str(e) for e in _causes(error) if str(e)), type(error).__name__)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _error(url: str, message: str, **facts: str) -> CodeError:
    """Build the error; a URL's query and user part may be secrets, so they are not shown."""
    shown = _USER_PART.sub("//", url.partition("?")[0].partition("#")[0], count=1)[:_SHOWN_CHARS]
    return CodeError(
        f"the code's URL {shown!r} {message}",
        reason=Reason.CODE_FETCH_FAILED,
        metadata={"url": shown, **facts},
    )
