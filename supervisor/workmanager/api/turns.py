"""What all streams of changes and lines send, at every door, spread over time.

A change that 200 follow is 200 messages, and each costs the loop some half a millisecond: sent at
once, they would hold up every other call for a tenth of a second.
"""

from __future__ import annotations

import time

import trio

GAP_S = 0.002  # between two messages; more where the loop is late, for it has other work


class Turns:
    """Gives out moments to send at, first come, first served. Owned by the trio loop."""

    def __init__(self) -> None:
        self._order = trio.Lock()
        self._next_at = 0.0

    async def wait(self) -> None:
        """Wait for one's turn."""
        async with self._order:
            left_s = self._next_at - time.monotonic()  # trio's clock begins anew with each run
            if left_s > 0:
                await trio.sleep(left_s)
            self._next_at = time.monotonic() + GAP_S


TURNS = Turns()  # of all doors
