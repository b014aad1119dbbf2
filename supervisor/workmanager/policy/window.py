"""The credit window: how many tasks an executor may have in hand, from the time one takes.

A window of W hides the round trip of about 2 ms between an outcome and the next task on a busy
host. Fast handlers need a wide one, slow ones must have a narrow one: what waits in an executor's
hands can go to no other executor and is run again if it dies.
"""

import math

ROUND_TRIP_S = 2e-3  # 0.4 ms on idle processors; 10 us handlers lost two thirds with that
MAX_WINDOW = 512  # wider gains nothing (measured)
FIRST_WINDOW = 2  # until the handler's time is known: one at work, one on its way
WEIGHT = 0.25  # of a new observation; each stands for a whole batch of outcomes


def window_for(handler_s: float) -> int:
    """Return the window for handlers that take *handler_s* seconds: 1 to `MAX_WINDOW`."""
    if handler_s <= ROUND_TRIP_S / MAX_WINDOW:
        return MAX_WINDOW
    return max(1, min(MAX_WINDOW, math.ceil(ROUND_TRIP_S / handler_s) + 1))


class CreditWindow:
    """An executor's window, kept by an exponentially weighted mean of its handler's time.

    Attributes:
        size: The window now.
    """

    __slots__ = ("_mean_s", "size")

    def __init__(self) -> None:
        self.size = FIRST_WINDOW
        self._mean_s = -1.0  # unknown

    def observe(self, handler_s: float) -> None:
        """Take in the mean time of the outcomes that came together, in seconds.

        It is measured by the executor, so it is not believed below zero.
        """
        handler_s = max(handler_s, 0.0)
        if self._mean_s < 0:
            self._mean_s = handler_s
        else:
            self._mean_s += WEIGHT * (handler_s - self._mean_s)
        self.size = window_for(self._mean_s)
