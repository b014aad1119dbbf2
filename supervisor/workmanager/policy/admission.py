"""When an inbox takes events: closed at its limit, open again at 70 % of it.

Two marks instead of one, so that a full worker does not open and close its source with every event.
"""

LOW_SHARE = 0.7


class Admission:
    """Hysteresis over the count and the bytes of one inbox.

    Attributes:
        is_open: What the last `update` found.
    """

    __slots__ = ("_high_bytes", "_high_count", "_low_bytes", "_low_count", "is_open")

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._high_count, self._high_bytes = max_count, max_bytes
        # A limit of 1 would otherwise be full until empty *and* never full while one waits.
        self._low_count = min(int(max_count * LOW_SHARE), max_count - 1)
        self._low_bytes = min(int(max_bytes * LOW_SHARE), max_bytes - 1)
        self.is_open = True

    def update(self, count: int, size_bytes: int) -> bool:
        """Take in what the inbox holds now; tells whether it takes more."""
        if self.is_open:
            self.is_open = count < self._high_count and size_bytes < self._high_bytes
        else:
            self.is_open = count <= self._low_count and size_bytes <= self._low_bytes
        return self.is_open
