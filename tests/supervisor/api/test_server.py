"""The server on real sockets: who calls, what is refused, and what a bad client cannot do.

Each wait is bounded by `serving` (20 s); clients close what they open; ports are 0.
"""

import os
import socket
import ssl
import stat
import struct
from contextlib import suppress
from functools import partial

import h2.config
import h2.connection
import h2.events
import httpx2
import pytest
import trio
import trustme
from structlog.testing import capture_logs

from workmanager.api.auth import Auth, AuthMiddleware
from workmanager.api.listeners import Tls, parse_bind
from workmanager.api.rest import border
from workmanager.api.server import ServerError, ServerOptions, serve

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_the_peer_of_a_unix_socket_is_known(net, socket_path):
    options = ServerOptions(binds=(), unix_socket=socket_path)
    async with net.serving(net.hello, options) as (urls, _):
        assert urls == [f"unix:{socket_path}"]
        assert stat.S_IMODE(socket_path.stat().st_mode) == 0o660
        transport = httpx2.AsyncHTTPTransport(uds=str(socket_path))
        async with httpx2.AsyncClient(transport=transport) as client:
            answer = await client.get("http://x/")
    assert answer.text == f"Peer(pid={os.getpid()}, uid={os.getuid()}, gid={os.getgid()})"
    assert not socket_path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be someone else")
async def test_a_stranger_on_the_unix_socket_is_refused(net, open_folder):
    """SO_PEERCRED has the effective user at the time of the connect; 65534 is nobody."""
    path = open_folder / "wm.sock"
    options = ServerOptions(binds=(), unix_socket=path, unix_socket_mode=0o666)
    async with net.serving(AuthMiddleware(net.hello, auth=Auth()), options):
        with socket.socket(socket.AF_UNIX) as client:
            os.seteuid(65534)
            try:
                client.connect(str(path))
            finally:
                os.seteuid(0)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
            await stream.send_all(GET)
            answer = await net.read_until(stream, b"}")
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"user 65534" in answer


async def test_a_tcp_client_is_no_peer(net):
    async with net.serving(net.hello) as (urls, _), httpx2.AsyncClient() as client:
        assert (await client.get(urls[0])).text == "None"


async def test_http2_without_tls_is_served(net):
    async with (
        net.serving(net.echo) as (urls, _),
        httpx2.AsyncClient(http1=False, http2=True) as client,
    ):
        answers = [await client.post(urls[0], content=b"y" * 300_000) for _ in range(3)]
    assert {(a.http_version, len(a.content)) for a in answers} == {("HTTP/2", 300_000)}


async def test_tls_serves_http2_and_checks_client_certificates(net, tmp_path):
    authority = trustme.CA()
    server, client_cert = authority.issue_cert("127.0.0.1"), authority.issue_cert("client")
    server.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = Tls(tmp_path / "server.pem", tmp_path / "server.pem", client_ca=tmp_path / "ca.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with net.serving(net.hello, ServerOptions(binds=net.LOOPBACK, tls=tls)) as (urls, _):
        assert urls[0].startswith("https://")
        async with httpx2.AsyncClient(verify=context, http2=True) as client:
            with pytest.raises(httpx2.TransportError):
                await client.get(urls[0])
        client_cert.configure_cert(context)
        async with httpx2.AsyncClient(verify=context, http2=True) as client:
            assert (await client.get(urls[0])).http_version == "HTTP/2"


async def refused(net, options):
    """Return why *options* cannot be served."""
    with trio.fail_after(5), pytest.raises(ServerError) as caught:
        await serve(net.hello, options, shutdown=trio.Event())
    return str(caught.value)


async def test_a_taken_port_is_named(net, socket_path):
    async with net.serving(net.hello) as (urls, _):
        bind = urls[0].removeprefix("http://")
        why = await refused(net, ServerOptions(binds=(bind,), unix_socket=socket_path))
    assert bind in why
    assert "in use" in why
    assert not socket_path.exists()


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0"])
async def test_only_loopback_is_served_without_tls(net, bind):
    assert "certificate" in await refused(net, ServerOptions(binds=(bind,)))
    assert "dev mode" in await refused(net, ServerOptions(binds=(bind,), require_loopback=True))


async def test_a_proxy_may_speak_tls_instead(net):
    options = ServerOptions(binds=("0.0.0.0:0",), allow_plaintext=True)
    async with net.serving(net.hello, options) as (urls, _):
        assert urls[0].startswith("http://0.0.0.0:")


@pytest.mark.parametrize(
    "bind", ["", "localhost", "localhost:x", "::1:80", "[::1]", "h:99999", ":80"]
)
def test_what_is_no_address_is_refused(bind):
    with pytest.raises(ServerError, match="give host:port"):
        parse_bind(bind)


def test_addresses_are_split():
    assert parse_bind("localhost:1") == ("localhost", 1)
    assert parse_bind("[::1]:0") == ("::1", 0)


async def test_missing_certificates_are_named(net, tmp_path):
    tls = Tls(tmp_path / "no.pem", tmp_path / "no.key")
    assert "no.pem" in await refused(net, ServerOptions(binds=net.LOOPBACK, tls=tls))


async def test_a_stale_socket_is_replaced(net, socket_path):
    with trio.socket.socket(trio.socket.AF_UNIX) as dead:
        await dead.bind(str(socket_path))
    async with (
        net.serving(net.hello, ServerOptions(binds=(), unix_socket=socket_path)),
        await trio.open_unix_socket(str(socket_path)) as stream,
    ):
        await stream.send_all(GET)
        assert b"Peer(" in await net.read_until(stream, b"Peer(")


async def test_a_live_socket_and_a_plain_file_are_left_alone(net, socket_path, tmp_path):
    options = ServerOptions(binds=(), unix_socket=socket_path)
    async with net.serving(net.hello, options):
        assert "another service" in await refused(net, options)
    (tmp_path / "file").write_text("precious")
    assert "not a socket" in await refused(
        net, ServerOptions(binds=(), unix_socket=tmp_path / "file")
    )
    assert (tmp_path / "file").read_text() == "precious"


async def test_a_long_socket_path_is_refused(net, tmp_path):
    why = await refused(net, ServerOptions(binds=(), unix_socket=tmp_path / ("x" * 120)))
    assert "107 bytes" in why


async def test_an_answer_before_the_end_of_the_body_does_not_hang(net):
    """Hypercorn and the application would wait for each other (see `border`)."""
    async with (
        net.serving(net.hello) as (urls, _),
        await net.connect(urls[0]) as stream,
        trio.open_nursery() as nursery,
    ):
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n")
        nursery.start_soon(_send_until_cut, stream)
        assert b"200" in await net.read_until(stream, b"None")
        assert await stream.receive_some() == b""


async def test_a_body_that_ends_after_the_answer_leaves_the_connection_usable(net):
    async with net.serving(net.hello) as (urls, _), httpx2.AsyncClient() as client:
        answers = [await client.post(urls[0], content=b"z" * 2_000_000) for _ in range(3)]
    assert [answer.text for answer in answers] == ["None"] * 3


async def test_http2_data_after_the_answer_ends_that_connection_only(net, monkeypatch):
    """Hypercorn 0.18 raises KeyError there, which would end the server."""
    monkeypatch.setattr(border, "LINGER_S", 0.01)
    async with net.serving(net.hello) as (urls, _):
        with capture_logs() as logs:
            async with await net.connect(urls[0]) as stream:
                await _http2_data_after_answer(net, stream)
        assert [line["event"] for line in logs] == ["connection_failed"]
        async with httpx2.AsyncClient() as client:
            assert (await client.get(urls[0])).text == "None"


@pytest.mark.parametrize(
    "junk",
    [
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 50,
    ],
    ids=["zeros", "no version", "preface and no more", "preface and a huge frame"],
)
async def test_junk_ends_that_connection_only(net, junk):
    options = ServerOptions(binds=net.LOOPBACK, idle_timeout_s=0.1)
    async with net.serving(net.hello, options) as (urls, _):
        async with await net.connect(urls[0]) as stream:
            await stream.send_all(junk)
            await net.read_until(stream, b"\x00no such byte string")
        async with httpx2.AsyncClient() as client:
            assert (await client.get(urls[0])).status_code == 200


async def test_a_client_that_does_not_read_does_not_stop_the_shutdown(net):
    with capture_logs() as logs:
        async with (
            net.serving(net.flood, ServerOptions(binds=net.LOOPBACK, grace_s=0.2)) as (
                urls,
                shutdown,
            ),
            await net.connect(urls[0]) as stream,
        ):
            await stream.send_all(GET)
            await net.read_until(stream, b"xx")
            shutdown.set()
            await net.read_until(stream, b"no such byte string")
    assert logs[-1]["event"] == "connections_cut"


async def test_cancelling_closes_everything_at_once(net):
    with trio.fail_after(5), capture_logs():
        async with trio.open_nursery() as nursery:
            options = ServerOptions(binds=net.LOOPBACK)
            urls = await nursery.start(partial(serve, net.flood, options, shutdown=trio.Event()))
            stream = await net.connect(urls[0])
            await stream.send_all(GET)
            await net.read_until(stream, b"xx")
            nursery.cancel_scope.cancel()
        await stream.aclose()


async def test_idle_connections_close_at_shutdown_without_waiting(net):
    async with (
        net.serving(net.hello, ServerOptions(binds=net.LOOPBACK, grace_s=1000)) as (
            urls,
            shutdown,
        ),
        await net.connect(urls[0]) as stream,
    ):
        await stream.send_all(GET)
        await net.read_until(stream, b"None")
        shutdown.set()
        assert await stream.receive_some() == b""


async def test_an_answer_of_known_length_comes_in_one_piece(net):
    async with (
        net.serving(net.hello) as (urls, _),
        await net.connect(urls[0]) as stream,
    ):
        for _ in range(3):
            await stream.send_all(GET)
            answer = await stream.receive_some()
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b"\r\n\r\nNone")
        await stream.send_all(GET.replace(b"GET", b"HEAD"))
        assert (await stream.receive_some()).endswith(b"\r\n\r\n")


async def test_a_call_may_take_longer_than_a_connection_may_be_idle(net):
    async def slow(scope, receive, send):
        await trio.sleep(0.3)
        await net.hello(scope, receive, send)

    async with (
        net.serving(slow, ServerOptions(binds=net.LOOPBACK, idle_timeout_s=0.1)) as (urls, _),
        await net.connect(urls[0]) as stream,
    ):
        await stream.send_all(GET)
        assert (await stream.receive_some()).endswith(b"None")
        assert await stream.receive_some() == b""


async def test_a_head_that_does_not_end_is_not_waited_for(net):
    async with (
        net.serving(net.hello, ServerOptions(binds=net.LOOPBACK, idle_timeout_s=0.1)) as (
            urls,
            _,
        ),
        await net.connect(urls[0]) as stream,
    ):
        await stream.send_all(b"GET / HTTP/1.1\r\nHo")
        assert await stream.receive_some() == b""


async def test_connections_are_limited(net):
    async with net.serving(net.hello, ServerOptions(binds=net.LOOPBACK, max_connections=1)) as (
        urls,
        _,
    ):
        async with await net.connect(urls[0]) as first:
            await first.send_all(GET)
            await net.read_until(first, b"None")
            async with await net.connect(urls[0]) as second:
                assert await net.read_until(second, b"no such byte string") == b""
        await _call_again(net, urls[0])


async def _call_again(net, url):
    """Call until the place of a closed connection is free."""
    text = b""
    while not text:
        with suppress(trio.BrokenResourceError):
            async with await net.connect(url) as stream:
                await stream.send_all(GET)
                text = await net.read_until(stream, b"None")


async def _send_until_cut(stream):
    try:
        while True:
            await stream.send_all(b"y" * 65536)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def _http2_data_after_answer(net, stream):
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    peer.initiate_connection()
    head = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "x")]
    peer.send_headers(1, head)
    await stream.send_all(peer.data_to_send())
    ended = False
    while not ended:
        events = peer.receive_data(bytes(await stream.receive_some()))
        ended = any(isinstance(e, h2.events.StreamEnded | h2.events.StreamReset) for e in events)
        await stream.send_all(peer.data_to_send())
    payload = b"late"
    frame = struct.pack(">I", len(payload))[1:] + bytes([0, 0]) + struct.pack(">I", 1) + payload
    await stream.send_all(frame * 3)
    await net.read_until(stream, b"no such byte string")
