"""The HTTP doors of the fake sidecar: Dapr's health paths, and the control of the faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

Handler = Callable[[str, str, Any], Awaitable[tuple[int, Any]]]

REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found", 500: "Error"}


async def serve_http(handler: Handler, port: int) -> asyncio.Server:
    """Answer HTTP/1.1 on loopback; *handler* gets method, path and the JSON of the body."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                await _answer(line.decode(), reader, writer, handler)
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(talk, "127.0.0.1", port)


async def _answer(
    line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
) -> None:
    method, path, _ = line.split(" ", 2)
    length = 0
    while (header := (await reader.readline()).decode().strip()) != "":
        name, _, value = header.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    body = await reader.readexactly(length)
    try:
        status, answer = await handler(method, path, json.loads(body) if body else None)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        status, answer = 400, {"error": repr(error)}
    content = b"" if status == 204 else json.dumps(answer).encode()
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    await writer.drain()
