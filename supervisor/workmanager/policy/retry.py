"""What follows a failed attempt: another one after a delay, or the end of the task."""

import math
import random
from dataclasses import dataclass
from enum import Enum

from workmanager.model.spec_delivery import Retry
from workmanager.model.states import TaskStatus

MAX_ASKED_S = 31_536_000.0  # what a handler may ask for with Retry(after=...): one year


class Failed(Enum):
    """How an attempt failed."""

    ERROR = "error"
    ASKED = "asked"  # the handler raised Retry
    FINAL = "final"  # the handler raised NonRetryable
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Make another attempt after *delay_s* seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The task ends as *status*; *reason* stands in its dead letter."""

    status: TaskStatus
    reason: str


def decide(
    retry: Retry,
    how: Failed,
    *,
    error_type: str,
    attempt: int,
    rng: random.Random,
    asked_after_s: float | None = None,
) -> TryAgain | GiveUp:
    """Decide what follows attempt number *attempt* (from 1) that failed.

    Crashes are none of its business: they have a budget of their own, `deadLetter.maxCrashes`.
    """
    if how is Failed.FINAL or _is_named(error_type, retry.non_retryable_error_types):
        return GiveUp(TaskStatus.FAILED_WITH_TERMINAL_ERROR, "NON_RETRYABLE")
    if attempt < retry.maximum_attempts:
        return TryAgain(next_delay_s(retry, attempt, rng, asked_after_s=asked_after_s))
    if how is Failed.TIMED_OUT:
        return GiveUp(TaskStatus.TIMED_OUT, "TIMED_OUT")
    return GiveUp(TaskStatus.FAILED, "ATTEMPTS_EXHAUSTED")


def next_delay_s(
    retry: Retry, attempt: int, rng: random.Random, *, asked_after_s: float | None = None
) -> float:
    """Return the seconds between failed attempt number *attempt* (from 1) and the next one.

    Full jitter draws from 0 to the policy's delay, so that tasks that failed together do not come
    back together. What the handler asked for is kept to the letter; it comes from an executor, so
    nonsense (negative, not finite) is ignored and a year is the most.

    Source:
        M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    if asked_after_s is not None and math.isfinite(asked_after_s) and asked_after_s >= 0:
        return min(asked_after_s, MAX_ASKED_S)
    delay_s = min(_policy_delay_s(retry, attempt), retry.maximum_interval_s)
    return rng.uniform(0.0, delay_s) if retry.jitter == "full" else delay_s


def _policy_delay_s(retry: Retry, attempt: int) -> float:
    if retry.backoff == "fixed":
        return retry.initial_interval_s
    if retry.backoff == "linear":
        return retry.initial_interval_s * attempt
    try:
        factor = retry.backoff_coefficient ** (attempt - 1)
    except OverflowError:
        factor = math.inf
    # 0 * inf is NaN: a policy without an interval has none at any attempt.
    return retry.initial_interval_s * factor if retry.initial_interval_s else 0.0


def _is_named(error_type: str, names: tuple[str, ...]) -> bool:
    """Match `pkg.mod.Error` by its full name or by `Error` alone."""
    return error_type in names or error_type.rpartition(".")[2] in names
