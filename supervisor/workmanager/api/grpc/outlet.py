"""Where a stream in the trio loop writes to: its client, who must read.

trio: await outlet.send(make) --call_soon_threadsafe--> asyncio: await context.write(make())
                 ^------------------run_sync_soon---------------------'
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import trio

from workmanager.api.turns import TURNS
from workmanager.errors import SlowReaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from workmanager.api.grpc.bridge import Bridge

    Context = grpc.aio.ServicerContext[bytes, bytes]

STALL_S = 30.0  # as REST: a client that takes nothing for so long holds memory for nobody


class Outlet:
    """The client's end of one stream; made in the asyncio thread, written to in the trio loop."""

    def __init__(self, context: Context, bridge: Bridge) -> None:
        self._context = context
        self._bridge = bridge
        self._loop = asyncio.get_running_loop()
        self._write: asyncio.Task[None] | None = None

    async def send(self, make: Callable[[], bytes]) -> None:
        """Send one message, which *make* builds in the asyncio thread; returns once it is taken.

        Raises:
            SlowReaderError: The client took nothing for `STALL_S` seconds.
        """
        await TURNS.wait()
        sent = trio.Event()
        with contextlib.suppress(RuntimeError):  # the asyncio thread has ended
            self._loop.call_soon_threadsafe(self._begin, make, sent)
        with trio.move_on_after(STALL_S):
            await sent.wait()
            return
        raise SlowReaderError(f"cut off: the client took nothing for {STALL_S:g} s")

    def _begin(self, make: Callable[[], bytes], sent: trio.Event) -> None:
        self._write = self._loop.create_task(self._send(make, sent))
        self._write.add_done_callback(_forget)

    async def _send(self, make: Callable[[], bytes], sent: trio.Event) -> None:
        await self._context.write(make())
        self._bridge.soon(sent.set)


def _forget(task: asyncio.Task[None]) -> None:
    """Take notice of how a write ended: an error means that the call has, which tells itself."""
    if not task.cancelled():
        task.exception()
