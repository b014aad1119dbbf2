"""What an executor was told to run: the LOAD frame, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


class ProtocolError(Exception):
    """The supervisor sent what the protocol does not allow; the executor ends."""


@dataclass(frozen=True)
class Job:
    """One version of one worker, as this executor runs it.

    Attributes:
        code: Source of the worker module; empty if the handler names an installed module.
        handler: "module:function", "function", or empty to look it up.
        group: None if the worker is in no group.
        per_executor: Attempts that run at the same time.
        start_to_close_s: Seconds an attempt may take; 0 means no limit.
        max_output_bytes: Bytes all outputs of one task may have together.
        log_limit_bytes: Bytes of log lines per attempt; what is more is counted and dropped.
    """

    code: bytes
    handler: str
    worker: str
    worker_uid: str
    version: str
    group: str | None
    per_executor: int
    batch_size: int
    start_to_close_s: float
    max_attempts: int
    max_outputs: int
    max_output_bytes: int
    log_limit_bytes: int
    config: Mapping[str, object]


def parse_job(fields: object) -> Job:
    """Return the job in the body of a LOAD frame.

    Raises:
        ProtocolError: A field is missing or of the wrong type.
    """
    if not isinstance(fields, dict):
        raise ProtocolError("load: a map is needed")
    try:
        return _job_of(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"load: {type(error).__name__}: {error}") from None


def _job_of(fields: Mapping[str, object]) -> Job:
    group = fields.get("group")
    return Job(
        code=_typed(fields, "code", bytes),
        handler=_typed(fields, "handler", str),
        worker=_typed(fields, "worker", str),
        worker_uid=_typed(fields, "workerUid", str),
        version=_typed(fields, "version", str),
        group=None if group is None else str(group),
        per_executor=max(1, _typed(fields, "perExecutor", int)),
        batch_size=max(1, _typed(fields, "batchSize", int)),
        start_to_close_s=_seconds(fields, "startToCloseS"),
        max_attempts=_typed(fields, "maxAttempts", int),
        max_outputs=_typed(fields, "maxOutputs", int),
        max_output_bytes=_typed(fields, "maxOutputBytes", int),
        log_limit_bytes=_typed(fields, "logLimitBytes", int),
        config=_typed(fields, "config", dict) if fields.get("config") else {},
    )


def _typed(fields: Mapping[str, object], name: str, kind: type[T]) -> T:
    value = fields[name]
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {type(value).__name__}, not {kind.__name__}")
    return value


def _seconds(fields: Mapping[str, object], name: str) -> float:
    value = fields.get(name)
    if value is None:
        return 0.0
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} is {type(value).__name__}, not a number")
    return float(value)
