"""A real server on port 0, its clients, and small applications named once."""

import tempfile
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from workmanager.api.rest.border import Border
from workmanager.api.server import ServerOptions, serve

LOOPBACK = ("127.0.0.1:0",)


async def hello(scope, receive, send):
    """Say who calls, without reading the body."""
    body = repr(scope.get("state", {}).get("peer")).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope, receive, send):
    """Send the body back."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def flood(scope, receive, send):
    """Send without end, and never look whether anyone is there."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def serving(app, options=None):
    """Serve *app* behind the border; yields the URLs and the event that stops it."""
    shutdown = trio.Event()
    options = options or ServerOptions(binds=LOOPBACK, grace_s=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            urls = await nursery.start(partial(serve, Border(app), options, shutdown=shutdown))
            yield urls, shutdown
            shutdown.set()


async def connect(url):
    """Open a bare TCP connection to *url*."""
    host, port = url.partition("://")[2].rsplit(":", 1)
    return await trio.open_tcp_stream(host, int(port))


async def read_until(stream, mark):
    """Receive until *mark* has come, or the end."""
    data = b""
    while mark not in data:
        chunk = await stream.receive_some()
        if not chunk:
            break
        data += chunk
    return data


@pytest.fixture
def net():
    """Hand out the above: test modules cannot import a conftest (importlib mode)."""
    return SimpleNamespace(
        LOOPBACK=LOOPBACK,
        connect=connect,
        echo=echo,
        flood=flood,
        hello=hello,
        read_until=read_until,
        serving=serving,
    )


@pytest.fixture
def socket_path(tmp_path):
    return tmp_path / "wm.sock"


@pytest.fixture
def open_folder():
    """Make a folder that everyone may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
