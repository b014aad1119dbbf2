"""Real HTTP over loopback; only DNS answers are given, through trio's own resolver hook."""

import socket
import ssl
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trustme

from workmanager.engines.fetch import Fetched, FetchOptions, check_digest, fetch_code
from workmanager.errors import CodeError, Reason
from workmanager.model.code import digest_of

BODY = b"def Process(event): return None\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: Text/X-Python; charset=utf-8\r\nContent-Length: 32\r\n\r\n"


class Server:
    """Answers each path with the bytes it is given, or as a function of the stream."""

    def __init__(self):
        self.answers = {"/a.py": OK + BODY}
        self.requests = []
        self.port = 0
        self.scheme = "http"

    def url(self, path="/a.py", host="127.0.0.1"):
        return f"{self.scheme}://{host}:{self.port}{path}"

    def redirect(self, path, location, status=302):
        self.answers[path] = f"HTTP/1.1 {status} X\r\nLocation: {location}\r\n\r\n".encode()

    async def handle(self, stream):
        try:
            async with stream:
                head = b""
                while b"\r\n\r\n" not in head:
                    chunk = await stream.receive_some()
                    if not chunk:
                        return
                    head += chunk
                lines = head.decode().split("\r\n")
                self.requests.append(lines)
                answer = self.answers.get(
                    lines[0].split()[1].partition("?")[0], b"HTTP/1.1 404 Not Found\r\n\r\n"
                )
                await (stream.send_all(answer) if isinstance(answer, bytes) else answer(stream))
        except (trio.BrokenResourceError, ssl.SSLError):
            return  # the client has had enough, which is what some tests are about


@asynccontextmanager
async def serving(server, context=None):
    async with trio.open_nursery() as nursery:
        serve = (
            partial(trio.serve_tcp, server.handle, 0, host="127.0.0.1")
            if context is None
            else partial(trio.serve_ssl_over_tcp, server.handle, 0, context, host="127.0.0.1")
        )
        listeners = await nursery.start(serve)
        inner = listeners[0] if context is None else listeners[0].transport_listener
        server.port = inner.socket.getsockname()[1]
        with trio.fail_after(10):
            yield server
        nursery.cancel_scope.cancel()


@pytest.fixture
async def server():
    async with serving(Server()) as running:
        yield running


class Resolver(trio.abc.HostnameResolver):
    """Gives each answer in turn; the last one again and again."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        self.asked.append(host.decode())
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in addresses
        ]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


@pytest.fixture
def dns():
    def answer(*answers):
        resolver = Resolver(*answers)
        trio.socket.set_custom_hostname_resolver(resolver)
        return resolver

    return answer


async def fetch(url, **options):
    defaults = {"max_bytes": 1000, "timeout_s": 5, "allow_private": True, "allow_http": True}
    return await fetch_code(url, FetchOptions(**(defaults | options)))


async def refused(url, match, **options):
    with pytest.raises(CodeError, match=match) as caught:
        await fetch(url, **options)
    assert caught.value.reason is Reason.CODE_FETCH_FAILED
    return caught.value


async def test_code_is_fetched_with_its_media_type(server):
    assert await fetch(server.url()) == Fetched(BODY, "text/x-python")
    request, *headers = server.requests[0]
    assert request == "GET /a.py HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in headers
    assert "Accept-Encoding: identity" in headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(server, status):
    server.redirect("/moved", "/a.py", status)
    assert (await fetch(server.url("/moved"))).content == BODY


async def test_redirects_are_bounded(server):
    for hop in range(6):
        server.redirect(f"/{hop}", f"/{hop + 1}" if hop < 5 else "/a.py")
    assert (await fetch(server.url("/1"))).content == BODY
    await refused(server.url("/0"), "more than 5 redirects")
    server.redirect("/loop", "/loop")
    await refused(server.url("/loop"), "more than 5 redirects")


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ("http://169.254.169.254/latest/meta-data", "metadata"),
        ("http://[fe80::1]/", "serves nobody"),
        ("http://0.0.0.0/", "serves nobody"),
        ("file:///etc/passwd", "not an http or https URL"),
        ("gopher://host/", "not an http or https URL"),
        ("http://user:secret@host/", "credentials"),
        ("http://[::1", "failed|no URL"),
        ("http://host:99999/", "not an http"),
    ],
)
async def test_each_redirect_is_checked_anew(server, location, match):
    server.redirect("/evil", location)
    error = await refused(server.url("/evil"), match)
    assert "secret" not in str(error)
    assert len(server.requests) == 1


async def test_names_in_redirects_are_checked_too(server, dns):
    server.redirect("/evil", "http://inside.example/a.py")
    resolver = dns(["127.0.0.1"], ["169.254.169.254"])
    await refused(server.url("/evil", "outside.example"), "metadata")
    assert resolver.asked == ["outside.example", "inside.example"]
    assert len(server.requests) == 1


async def test_private_addresses_are_refused_without_a_connection(server):
    await refused(server.url(), "not public", allow_private=False)
    assert server.requests == []


async def test_every_address_of_a_name_is_checked(server, dns):
    dns(["127.0.0.1", "169.254.169.254"])
    await refused(server.url(host="two.example"), "169.254.169.254")
    assert server.requests == []


async def test_connection_goes_to_the_address_that_was_checked(server, dns):
    """A second look-up, as in DNS rebinding, never happens; Host keeps the name."""
    resolver = dns(["127.0.0.1"], ["10.0.0.1"])
    assert (await fetch(server.url(host="name.example"))).content == BODY
    assert resolver.asked == ["name.example"]
    assert f"Host: name.example:{server.port}" in server.requests[0]


async def test_next_address_is_tried_when_one_refuses(server, dns):
    dns(["127.0.0.2", "127.0.0.1"])
    assert (await fetch(server.url(host="name.example"))).content == BODY


async def test_http_needs_permission_at_every_hop(server):
    await refused(server.url(), "not encrypted", allow_http=False)
    assert server.requests == []


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 404, 500])
async def test_other_statuses_are_named(server, status):
    server.answers["/a.py"] = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()
    error = await refused(server.url("/a.py?token=secret"), f"status {status}")
    assert error.metadata["status"] == str(status)
    assert "secret" not in str(error)
    assert "secret" not in str(error.metadata)


async def test_body_at_the_limit_is_taken_and_one_more_byte_is_not(server):
    assert (await fetch(server.url(), max_bytes=32)).content == BODY
    error = await refused(server.url(), "larger than 31 bytes", max_bytes=31)
    assert error.metadata["limitBytes"] == "31"


async def test_endless_body_is_cut_off(server):
    async def flood(stream):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"400\r\n" + b"x" * 1024 + b"\r\n")

    server.answers["/a.py"] = flood
    await refused(server.url(), "larger than 1000 bytes")


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"])
async def test_slow_server_meets_the_total_deadline(server, head):
    """One byte now and then keeps any per-read time-out alive; the deadline is over all of it."""

    async def dribble(stream):
        await stream.send_all(head)
        while True:
            await stream.send_all(b"H")
            await trio.sleep(0.01)

    server.answers["/a.py"] = dribble
    start = trio.current_time()
    await refused(server.url(), "not done within 0.2 s", timeout_s=0.2)
    assert trio.current_time() - start < 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        OK + b"short",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe://\r\n\r\n",
    ],
    ids=range(10),
)
async def test_broken_answers_are_one_kind_of_error(server, answer):
    server.answers["/a.py"] = answer
    await refused(server.url(), "the code's")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.py",
        "http://",
        "http:///a.py",
        "ftp://h/a.py",
        "http://[::1",
        "http://h:x/",
        "http://h:0/",
        "\0",
    ],
)
async def test_what_is_no_url_is_refused(url):
    with trio.fail_after(5):
        await refused(url, "the code's URL")


async def test_closed_port_is_named(server):
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    await refused(f"http://127.0.0.1:{port}/a.py", "cannot be connected to")


@pytest.fixture
async def tls(tmp_path, monkeypatch):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("name.example").configure_cert(context)
    server = Server()
    server.scheme = "https"
    async with serving(server, context) as running:
        yield running


async def test_certificate_is_checked_against_the_name(tls, dns):
    dns(["127.0.0.1"])
    found = await fetch(tls.url(host="name.example"), allow_http=False)
    assert found.content == BODY
    await refused(tls.url(host="other.example"), "cannot be connected to.*(?i:mismatch|match)")


async def test_redirect_from_https_to_http_needs_permission(tls, dns):
    dns(["127.0.0.1"])
    tls.redirect("/down", "http://name.example/a.py")
    await refused(tls.url("/down", "name.example"), "not encrypted", allow_http=False)


def test_digest_is_checked():
    assert check_digest(BODY, "") == digest_of(BODY)
    assert check_digest(BODY, digest_of(BODY)) == digest_of(BODY)
    with pytest.raises(CodeError, match="sha256:0000") as caught:
        check_digest(BODY, "sha256:" + "0" * 64)
    assert caught.value.reason is Reason.DIGEST_MISMATCH
