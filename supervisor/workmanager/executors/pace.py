"""How fast a child may make the supervisor work: a budget that refills with time.

A frame or a line costs the supervisor some microseconds, however small it is. A child that sends
more than its share is read more slowly: its pipe fills, and it waits in its own write.
"""

from __future__ import annotations


class Pace:
    """A budget of *per_s* units a second, of which *burst* may be used at once."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = self._left = burst
        self._at = 0.0

    def owed_s(self, used: float, now: float) -> float:
        """Use *used* units at *now* (seconds); returns how long to wait until they are paid for."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s) - used
        self._at = now
        return -self._left / self._per_s if self._left < 0 else 0.0
