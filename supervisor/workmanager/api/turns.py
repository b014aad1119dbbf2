"""What all streams of changes and lines send, at every door, spread over time.

A change that 200 follow is 200 messages, and each costs the loop some half a millisecond: sent at
once, they would hold up every other call for a tenth of a second.
"""

from __future__ import annotations

import time

import trio

GAP_S = 0.002  # between two messages


class Turns:
    """Gives out moments to send at; who does not send holds up nobody. Owned by the trio loop."""

    def __init__(self) -> None:
        self._next_at = 0.0

    async def wait(self) -> None:
        """Wait for one's turn."""
        now = time.monotonic()  # trio's clock begins anew with each run
        turn_at = max(now, self._next_at)
        self._next_at = turn_at + GAP_S
        if turn_at > now:
            await trio.sleep(turn_at - now)


TURNS = Turns()  # of all doors
