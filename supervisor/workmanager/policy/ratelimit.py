"""Rate limit: a token bucket that is asked once per batch, not once per event."""

import math

_HAIR = 1e-6  # tokens; what rounding may take from a token that is due


class TokenBucket:
    """Lets *limit* through per *per_s* seconds, *burst* at once; starts full.

    Time is given to each call, in seconds of any clock that does not go backwards (if it does,
    nothing is refilled until it has caught up).
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, limit: float, per_s: float, burst: float) -> None:
        self._rate = limit / per_s
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._at = -math.inf

    def take(self, wanted: int, now: float) -> int:
        """Take up to *wanted* tokens; returns how many there were."""
        tokens = self._tokens_at(now)
        granted = min(wanted, int(tokens + _HAIR))
        self._tokens = max(tokens - granted, 0.0)
        self._at = max(self._at, now)
        return granted

    def give_back(self, unused: int) -> None:
        """Put back tokens that were taken and not used."""
        self._tokens = min(self._tokens + unused, self._burst)

    def next_at(self, now: float) -> float:
        """Return when `take(1)` will be granted: *now* if it is already."""
        missing = 1.0 - self._tokens_at(now)
        if missing <= _HAIR:
            return now
        when = max(now, self._at) + missing / self._rate
        while self._tokens_at(when) + _HAIR < 1.0:  # the clock's own grain, at huge rates
            when = math.nextafter(when, math.inf)
        return when

    def _tokens_at(self, now: float) -> float:
        elapsed_s = now - self._at
        if elapsed_s <= 0:
            return self._tokens
        return min(self._tokens + elapsed_s * self._rate, self._burst)
