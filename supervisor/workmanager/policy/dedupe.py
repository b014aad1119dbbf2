"""Which events a worker has accepted before: two generations of 16-byte keys.

A key is kept at least the window and at most twice as long; there is no queue of expiries, a whole
generation is dropped at once. Per event that is one hash and two set look-ups. A false "seen" needs
two keys of 128 bits to collide: below 1e-24 with a million entries.
"""

import hashlib
from collections.abc import Iterable

KEY_BYTES = 16

_blake2b = hashlib.blake2b


def event_key(source: str, event_id: str) -> bytes:
    """Return the key of an event: 16 bytes over its source and id.

    NUL parts the two; neither can hold one (CloudEvents 1.0.2: no control characters in strings).
    """
    text = f"{source}\0{event_id}"
    return _blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def split_keys(blob: bytes) -> list[bytes]:
    """Split concatenated keys, the form in which the store keeps them."""
    return [blob[start : start + KEY_BYTES] for start in range(0, len(blob), KEY_BYTES)]


class Dedupe:
    """The keys one worker has seen, for *window_s* seconds and at most *max_entries* of them.

    Half of *max_entries* is remembered for sure, whatever the window says: a generation that holds
    half makes place for the next. Times are seconds of one clock; it may stand still.
    """

    __slots__ = ("_current", "_half", "_previous", "_turn_at", "_window_s")

    def __init__(self, window_s: float, max_entries: int) -> None:
        self._window_s = window_s
        self._half = max(1, max_entries // 2)
        self._current: set[bytes] = set()
        self._previous: set[bytes] = set()
        self._turn_at: float | None = None

    def __len__(self) -> int:
        return len(self._current) + len(self._previous)

    def seen_or_add(self, key: bytes, now: float) -> bool:
        """Tell whether *key* was seen within the window; remember it if not."""
        if self._turn_at is None:
            self._turn_at = now + self._window_s
        elif now >= self._turn_at:
            self._turn_by_time(self._turn_at, now)
        if key in self._current or key in self._previous:
            return True
        if len(self._current) >= self._half:
            self._turn(now + self._window_s)
        self._current.add(key)
        return False

    def load(self, keys: Iterable[bytes], at: float) -> None:
        """Remember *keys* as seen at *at*; call it in the order of time."""
        for key in keys:
            self.seen_or_add(key, at)

    def discard(self, keys: Iterable[bytes]) -> None:
        """Forget *keys*: their events were not accepted after all."""
        for key in keys:
            self._current.discard(key)
            self._previous.discard(key)

    def reconfigure(self, window_s: float, max_entries: int) -> None:
        """Take on other limits; what is remembered stays."""
        if self._turn_at is not None:
            self._turn_at += window_s - self._window_s
        self._window_s = window_s
        self._half = max(1, max_entries // 2)

    def _turn(self, next_at: float) -> None:
        self._previous, self._current = self._current, set()
        self._turn_at = next_at

    def _turn_by_time(self, was_due: float, now: float) -> None:
        """Turn in step with the window, however late; after a long pause nothing is left."""
        if now < was_due + self._window_s:
            self._turn(was_due + self._window_s)
        else:
            self._current = set()
            self._turn(now + self._window_s)
