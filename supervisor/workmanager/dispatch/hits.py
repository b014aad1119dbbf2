"""Attempts that ran into a limit: their failure says which, and the worker counts it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workmanager.dispatch.outcome import Failure
from workmanager.policy import limits

if TYPE_CHECKING:
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.executors.executor import Executor

COUNT = "limit_{}"  # name of the counter of a limit


def marked(worker: WorkerDispatch, failure: Failure) -> Failure:
    """Return *failure*, of user code, with the limit it speaks of, if it speaks of one."""
    limit = limits.limit_of_error(failure.type, failure.message)
    if not limit:
        return failure
    count(worker, limit)
    return replace(failure, message=_words(worker, limit, failure.message))


def killed(worker: WorkerDispatch, executor: Executor) -> Failure:
    """Make the failure of the attempt that killed its executor; the exit has been counted."""
    end, said = executor.exit, executor.last_words
    message = f"the executor {end.words if end is not None else 'exited'}"
    if said.opening:
        message = f"{message}: {said.opening}"
    if end is None or not end.limit:
        return Failure("ExecutorCrashed", message, said.text)
    return Failure(limits.KILL_TYPES[end.limit], _words(worker, end.limit, message), said.text)


def timed_out(worker: WorkerDispatch, executor: Executor, traceback: str = "") -> Failure:
    """Make the failure of an attempt that ran out of time."""
    limit_s = worker.spec.timeouts.start_to_close_s
    beat_s = worker.spec.timeouts.heartbeat_s
    beat = f" (or {beat_s:g} s without a heartbeat)" if beat_s else ""
    message = f"timeouts.startToClose of {limit_s:g} s passed{beat}"
    throttled_s = executor.throttled_s() - executor.throttled_before_s
    limit = limits.limit_of_timeout(throttled_s, limit_s)
    if limit:
        count(worker, limit)
        message = _words(worker, limit, f"it was held back for {throttled_s:.1f} s; {message}")
    return Failure("Timeout", message, traceback)


def count(worker: WorkerDispatch, limit: str) -> None:
    """Count that *limit* was hit."""
    worker.counts[COUNT.format(limit)] += 1


def _words(worker: WorkerDispatch, limit: str, message: str) -> str:
    words = limits.words_of(limit, worker.spec.resources)
    return f"{words}; {message}" if message else words
