"""The context a handler may ask for as its second parameter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from time import monotonic_ns
from typing import TYPE_CHECKING

from workmanager_executor.contract import OutputTooLarge
from workmanager_executor.egress import Http
from workmanager_executor.event import Event
from workmanager_executor.logs import logger_of
from workmanager_executor.outputs import Outputs, data_output, event_output
from workmanager_executor.values import to_json

if TYPE_CHECKING:
    import logging
    from collections.abc import Generator, Mapping

    from workmanager_executor.attempt import Attempt
    from workmanager_executor.egress import Desk
    from workmanager_executor.job import Job
    from workmanager_executor.logs import LogSink
    from workmanager_executor.writer import FrameWriter

MAX_HEARTBEAT_BYTES = 64 * 1024

_TOPIC, _TYPE, _SUBJECT = 0, 1, 3  # places in an output's wire form


@dataclass(frozen=True)
class Runtime:
    """What every attempt of this executor shares."""

    job: Job
    control: FrameWriter
    logs: LogSink
    desk: Desk

    def new_outputs(self) -> Outputs:
        """Return an empty list of outputs within the worker's bounds."""
        return Outputs(self.job.max_outputs, self.job.max_output_bytes)


class Done:
    """Result of a call that has happened already; may be awaited or ignored."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE = Done()


class Context:
    """What the running attempt may know and ask for. In start() and stop() there is no attempt."""

    __slots__ = ("_attempt", "_event", "_runtime")

    def __init__(
        self,
        attempt: Attempt | None,
        runtime: Runtime,
        event: Event | Mapping[str, object] | None = None,
    ) -> None:
        self._attempt = attempt
        self._runtime = runtime
        self._event = event

    @property
    def task_id(self) -> str:
        """Id of the task, the same over all its attempts; empty outside of attempts."""
        return "" if self._attempt is None else f"{self._attempt.task_number:x}"

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1; 0 outside of attempts."""
        return 0 if self._attempt is None else self._attempt.attempt

    @property
    def max_attempts(self) -> int:
        """Attempts a task may have."""
        return self._runtime.job.max_attempts

    @property
    def worker(self) -> str:
        """Name of the worker."""
        return self._runtime.job.worker

    @property
    def worker_uid(self) -> str:
        """Id of the worker, which outlives a change of its name."""
        return self._runtime.job.worker_uid

    @property
    def version(self) -> str:
        """Version of the worker this executor runs."""
        return self._runtime.job.version

    @property
    def group(self) -> str | None:
        """Group of the worker; None if it is in none."""
        return self._runtime.job.group

    @property
    def config(self) -> Mapping[str, object]:
        """The worker's configuration."""
        return self._runtime.job.config

    @property
    def fencing_token(self) -> int | None:
        """Rises with each owner of the group; None outside of groups. Pass it to what you write."""
        return None if self._attempt is None else self._attempt.fence

    @property
    def traceparent(self) -> str:
        """W3C trace context to go on from: the attempt's span, else the event's; often empty."""
        event = self._event
        if event is None:
            return ""
        attributes = event.attributes if isinstance(event, Event) else event
        return str(attributes.get("traceparent") or "")

    @property
    def deadline(self) -> datetime | None:
        """When this attempt is cancelled, in UTC; None if it has all the time."""
        remaining_s = self.remaining()
        if remaining_s == float("inf"):
            return None
        return datetime.now(timezone.utc) + timedelta(seconds=remaining_s)

    def remaining(self) -> float:
        """Return the seconds left until the deadline; infinity if there is none."""
        limit_s = self._runtime.job.start_to_close_s
        if self._attempt is None or limit_s <= 0:
            return float("inf")
        spent_s = (monotonic_ns() - self._attempt.begun_ns) / 1e9
        return max(0.0, limit_s - spent_s)

    @property
    def cancelled(self) -> bool:
        """Whether this attempt was asked to stop; long synchronous work should look at it."""
        return self._attempt is not None and self._attempt.is_cancelled

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines belong to this attempt."""
        return logger_of(self._attempt)

    @property
    def http(self) -> Http:
        """Requests to the hosts that the worker's `spec.egress` allows, made by the service."""
        return Http(self._runtime.desk, self._attempt)

    def publish(
        self,
        data: object,
        *,
        topic: str | None = None,
        type: str | None = None,  # noqa: A002 - the attribute's name
        subject: str | None = None,
    ) -> Done:
        """Add an output; it leaves when the attempt succeeds, in the order of the calls.

        Args:
            data: An Event, or the data of one.
            topic: Goes before the event's own.
            type: Likewise.
            subject: Likewise.

        Raises:
            OutputError: It cannot become an event, or there are too many.
            RuntimeError: There is no attempt, or it has ended.
        """
        attempt = self._open_attempt("publish()")
        output = event_output(data) if isinstance(data, Event) else data_output(data)
        for place, value in ((_TOPIC, topic), (_TYPE, type), (_SUBJECT, subject)):
            if value is not None:
                output[place] = str(value)
        if attempt.outputs is None:
            attempt.outputs = self._runtime.new_outputs()
        attempt.outputs.add(output)
        return _DONE

    def heartbeat(self, details: object = None) -> Done:
        """Tell that this attempt is alive, with any JSON value as *details*.

        Raises:
            OutputError: *details* is not JSON or larger than 64 KiB.
            RuntimeError: There is no attempt, or it has ended.
        """
        attempt = self._open_attempt("heartbeat()")
        body = to_json(details)
        if len(body) > MAX_HEARTBEAT_BYTES:
            raise OutputTooLarge(f"heartbeat of {len(body)} bytes, {MAX_HEARTBEAT_BYTES} allowed")
        for no in attempt.nos:
            self._runtime.control.send(["heartbeat", no, body])
        return _DONE

    def _open_attempt(self, what: str) -> Attempt:
        if self._attempt is None:
            raise RuntimeError(f"{what} works inside of an attempt only")
        if self._attempt.is_done:
            raise RuntimeError(f"{what} was called after its attempt had ended")
        return self._attempt
