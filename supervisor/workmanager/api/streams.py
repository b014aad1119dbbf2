"""A connection whose peer must keep reading, and which can be cut at any time."""

from __future__ import annotations

import trio

SEND_SLICE_BYTES = 64 * 1024  # one socket buffer or so: progress is judged slice by slice
SEND_STALL_S = 30.0  # a peer that takes nothing for so long holds memory for nobody


class WatchedStream(trio.abc.HalfCloseableStream):
    """A socket stream that breaks when its peer takes nothing for `SEND_STALL_S` seconds.

    Hypercorn 0.18 sends without a deadline and shielded from cancellation.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything, slice by slice."""
        view = memoryview(data)
        for start in range(0, len(view) or 1, SEND_SLICE_BYTES):
            with trio.move_on_after(SEND_STALL_S) as scope:
                await self._stream.send_all(view[start : start + SEND_SLICE_BYTES])
            if scope.cancelled_caught:
                self.close()
                raise trio.BrokenResourceError("the peer does not read")

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket takes more."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what is there."""
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Close the sending half."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close, with a checkpoint."""
        await self._stream.aclose()

    def close(self) -> None:
        """Cut the connection now; whoever sends or receives on it is woken with an error."""
        self.socket.close()
