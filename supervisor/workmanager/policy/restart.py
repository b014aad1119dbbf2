"""When an executor that ended unasked is started again, and when its worker is given up.

The delay doubles from `restart.backoffInitial` to `backoffMax` with a quarter of jitter either way,
and starts over after a stable minute. Too many ends in a window make the worker FAILED: a crash
loop burns the host for nothing (reference: supervision table, sandbox notes section 7).
"""

import random
from collections import deque
from dataclasses import dataclass
from enum import Enum

from workmanager.model.spec_process import Restart

STABLE_S = 60.0  # an executor that lived this long starts the backoff anew
JITTER = 0.25
EVENT_SHARE = 0.5  # of an end that an event was charged for: a bad event must not stop a worker
MAX_DOUBLINGS = 64  # any initial backoff has reached any maximum by then


class Action(Enum):
    """What to do about an executor that ended unasked."""

    RESTART = "restart"
    REST = "rest"  # it ended well and the policy restarts only failures
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class RestartState:
    """What is remembered of one worker's ends; a new one when an operator starts it.

    Attributes:
        failures: Ends in a row without a stable minute between them.
        ends: `(monotonic seconds, share)` of each end within the start-limit window.
    """

    failures: int = 0
    ends: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """One unasked end of an executor.

    Attributes:
        at: When, in monotonic seconds.
        uptime_s: How long it was up.
        is_clean: It exited with 0.
        is_charged: An event was found to have killed it.
    """

    at: float
    uptime_s: float
    is_clean: bool = False
    is_charged: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows; *delay_s* counts from the end and has a meaning with RESTART only."""

    action: Action
    delay_s: float = 0.0
    reason: str = ""


def after_end(
    state: RestartState, end: End, policy: Restart, rng: random.Random
) -> tuple[RestartState, Decision]:
    """Decide what follows an unasked *end*; returns the state to remember with it."""
    failures = 1 if end.uptime_s >= STABLE_S else state.failures + 1
    ends = _within((*state.ends, (end.at, _share(end, policy))), end.at, policy)
    state = RestartState(failures, ends)
    if policy.policy == "on-failure" and end.is_clean:
        return state, Decision(Action.REST, reason="it ended well; restart.policy is on-failure")
    if policy.policy == "never":
        return state, Decision(Action.FAIL, reason="it ended; restart.policy is never")
    if policy.start_limit_burst and sum(share for _, share in ends) >= policy.start_limit_burst:
        reason = f"{len(ends)} ends within {policy.start_limit_interval_s:g} s (startLimitBurst)"
        return state, Decision(Action.FAIL, reason=reason)
    return state, Decision(Action.RESTART, backoff_s(policy, failures, rng))


def backoff_s(policy: Restart, failures: int, rng: random.Random) -> float:
    """Return the jittered delay before the start that follows failure number *failures* (from 1).

    The jitter is applied last, so it may pass `backoffMax` by a quarter: at the cap, too, workers
    that died together must not come back together.
    """
    doubled = policy.backoff_initial_s * 2.0 ** min(failures - 1, MAX_DOUBLINGS)
    return min(doubled, policy.backoff_max_s) * rng.uniform(1 - JITTER, 1 + JITTER)


def hold_out_s(policy: Restart) -> float:
    """Return how long a lone executor must hold out after a crash loop, until others join it."""
    return min(STABLE_S, policy.start_limit_interval_s)


class RestartBudget:
    """How many executors may be restarted on a host: a loop of many workers must not drown it.

    The first restart of a worker after a stable minute does not count against the minute: after
    one blow that ended all of them, a thousand workers are back as fast as *per_second* allows.
    """

    def __init__(self, per_second: int, per_minute: int) -> None:
        self._second: deque[float] = deque(maxlen=per_second)
        self._minute: deque[float] = deque(maxlen=per_minute)

    def take(self, now: float, *, is_first: bool) -> float:
        """Use one up at *now* (monotonic seconds).

        Returns:
            0 if it may happen now; else nothing is used up, and it is the seconds to wait.
        """
        wait_s = _wait_s(self._second, now, 1.0)
        if not is_first:
            wait_s = max(wait_s, _wait_s(self._minute, now, 60.0))
        if wait_s > 0:
            return wait_s
        self._second.append(now)
        if not is_first:
            self._minute.append(now)
        return 0.0


def _wait_s(taken: deque[float], now: float, window_s: float) -> float:
    """Return the seconds until the oldest of a full window falls out of it."""
    return taken[0] + window_s - now if len(taken) == taken.maxlen else 0.0


def _within(
    ends: tuple[tuple[float, float], ...], now: float, policy: Restart
) -> tuple[tuple[float, float], ...]:
    """Keep the ends that count: those of the interval, no more than half shares can need."""
    recent = [end for end in ends if now - end[0] < policy.start_limit_interval_s]
    return tuple(recent[-2 * policy.start_limit_burst :]) if policy.start_limit_burst else ()


def _share(end: End, policy: Restart) -> float:
    """Weigh an end: one that came before `startSeconds` is the worker's own failure to start."""
    return EVENT_SHARE if end.is_charged and end.uptime_s >= policy.start_seconds else 1.0
