"""When a failed call is sent again: pure, so that every client decides alike.

What cannot have reached the service is sent again at once, and what can be repeated too: twice,
within a quarter of a second, for a connection that broke. A restart takes longer; `patience_s`
says for how long to try, and then refusals that pass (a full inbox, a service that stops) are
tried again as well.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workmanager.client.problems import (
    ClientError,
    ConnectionLostError,
    NoSupervisorError,
    ProblemError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workmanager.client.call import Call

QUICK_DELAYS_S = (0.05, 0.2)
PATIENT_DELAY_S = 0.5
RECONNECT_DELAYS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0)  # a restarted service is back by then
STEADY_S = 10.0  # with so long between two cuts, the second is a new one


@dataclass(slots=True)
class Attempts:
    """The attempts of one call; `delay_s` is asked after each failure."""

    call: Call[Any]
    patience_s: float = 0.0
    began_at_s: float = field(default_factory=time.monotonic)
    _quick: Iterator[float] = field(default_factory=lambda: iter(QUICK_DELAYS_S))
    _was_lost: bool = False

    def delay_s(self, error: ClientError) -> float | None:
        """Return the seconds to wait before the next attempt; None: there is none."""
        left_s = self.began_at_s + self.patience_s - time.monotonic()
        if isinstance(error, ProblemError):
            return self._after_refusal(error, left_s)
        if isinstance(error, NoSupervisorError):
            is_worth_it = error.may_pass
        else:
            is_worth_it = isinstance(error, ConnectionLostError) and self.call.may_repeat
            self._was_lost = self._was_lost or is_worth_it
        if not is_worth_it:
            return None
        return next(self._quick, PATIENT_DELAY_S if left_s > 0 else None)

    def _after_refusal(self, error: ProblemError, left_s: float) -> float | None:
        if error.reason == "IDEMPOTENCY_KEY_IN_USE" and self._was_lost:
            left_s = max(
                left_s, self.call.timeout_s or 2 * PATIENT_DELAY_S
            )  # ours, still under way
        after_s = error.retry_after_s
        return after_s if after_s is not None and after_s <= left_s else None


class Reconnects:
    """The attempts to take up a stream that was cut; `delay_s` is asked after each cut.

    They go on for *patience_s* where that is longer than `RECONNECT_DELAYS_S` together.
    """

    def __init__(self, patience_s: float = 0.0) -> None:
        self._patience_s = patience_s
        self._delays_s = iter(RECONNECT_DELAYS_S)
        self._began_at_s = self._cut_at_s = time.monotonic()

    def delay_s(self, error: ClientError) -> float | None:
        """Return the seconds to wait before opening it again; None: give up."""
        if isinstance(error, ProblemError) and error.reason != "SHUTTING_DOWN":
            return None
        now_s = time.monotonic()
        if now_s - self._cut_at_s > STEADY_S:
            self._delays_s = iter(RECONNECT_DELAYS_S)
            self._began_at_s = now_s
        self._cut_at_s = now_s
        is_patient = now_s < self._began_at_s + self._patience_s
        return next(self._delays_s, RECONNECT_DELAYS_S[-1] if is_patient else None)
