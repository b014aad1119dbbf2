"""Sends spans to a collector by OTLP/HTTP, in a thread of its own; set by OTEL_* variables alone.

The queue is bounded: a collector that is slow or gone costs spans, which are counted, and nothing
else. OpenTelemetry is imported only where an exporter is asked for: it takes a quarter of a second.
Its BatchSpanProcessor is not used, for it writes a log line for every span that it drops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import structlog
import trio

from workmanager.policy.sampling import sampler_of
from workmanager.telemetry.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    from workmanager.telemetry.tracing import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
CLOSE_S = 2.0  # at a stop, for what is queued
COMPLAIN_S = 60.0  # between two lines about a collector that does not take spans

_limiter = trio.CapacityLimiter(1)  # "spans": for the one wait at the end

log = structlog.get_logger()


class SpanSender:
    """Queues ended spans and sends them.

    Attributes:
        sent: Spans that the collector has taken.
        dropped: Spans that were lost: the queue was full, or the collector refused them.
    """

    def __init__(self, exporter: SpanExporter, environ: Mapping[str, str]) -> None:
        self._exporter = exporter
        self._maker = _Maker()
        self._queue_max = _number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 2048)
        self._batch = min(_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), self._queue_max)
        self._delay_s = _number(environ, "OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000
        self._queue: deque[Span] = deque()
        self._wake = threading.Event()
        self._is_closing = False
        self._complained_at = -COMPLAIN_S
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self.sent = 0
        self.dropped = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Whether spans are lost now: the collector does not keep up, or is gone."""
        return len(self._queue) >= self._queue_max

    def lose(self, count: int) -> None:
        """Count spans that were not made, for they would not fit."""
        self.dropped += count

    def take(self, spans: list[Span]) -> None:
        """Queue *spans*; those that do not fit are dropped. Called by the loop, never waits."""
        room = self._queue_max - len(self._queue)
        if room < len(spans):
            self.dropped += len(spans) - max(room, 0)
            spans = spans[: max(room, 0)]
        self._queue.extend(spans)
        if len(self._queue) >= self._batch:
            self._wake.set()

    async def aclose(self) -> None:
        """Send what is queued, for `CLOSE_S` seconds at most.

        A thread that still waits for a collector then goes with the process: it is a daemon's.
        """
        self._is_closing = True
        self._wake.set()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join, CLOSE_S, limiter=_limiter)
        if self._thread.is_alive():
            log.warning("spans_not_sent", queued=len(self._queue), dropped=self.dropped)

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.wait(self._delay_s)
            self._wake.clear()
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        while self._queue:
            some = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            if self._send(some):
                self.sent += len(some)
            else:
                self.dropped += len(some)

    def _send(self, spans: Sequence[Span]) -> bool:
        try:
            result = self._exporter.export([self._maker.make(span) for span in spans])
            why = "the collector did not take them"
        except Exception as error:  # noqa: BLE001 - the border of a library in a thread of its own
            result, why = None, f"{type(error).__name__}: {error}"
        if result is not None and result.name == "SUCCESS":
            return True
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_S:
            self._complained_at = now
            log.warning("spans_dropped", why=why, dropped=self.dropped + len(spans))
        return False


class _Maker:
    """Makes OpenTelemetry's spans of ours."""

    def __init__(self) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        from workmanager import __version__

        found = Resource.create()  # by OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
        own = {"service.version": __version__}
        if str(found.attributes.get("service.name", "")).startswith("unknown_service"):
            own["service.name"] = "workmanager"
        self._resource = found.merge(Resource(own))
        self._scope = InstrumentationScope("workmanager", __version__)

    def make(self, span: Span) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
        from opentelemetry.trace.status import Status, StatusCode

        def context(span_id: int, *, is_remote: bool) -> SpanContext:
            return SpanContext(
                span.trace_id,
                span_id,
                is_remote,
                TraceFlags(TraceFlags.SAMPLED),
                TraceState.from_header([span.state]) if span.state else None,
            )

        status, attributes = Status(StatusCode.UNSET), dict(span.attributes)
        if span.error is not None:
            attributes["error.type"] = str(span.error[0])
            status = Status(StatusCode.ERROR, str(span.error[1]))
        is_first = span.name.startswith("receive ")
        return ReadableSpan(
            span.name,
            context(span.span_id, is_remote=False),
            context(span.parent_id, is_remote=is_first) if span.parent_id else None,
            self._resource,
            attributes,
            _exceptions(span),
            kind=SpanKind.PRODUCER if span.is_output else SpanKind.CONSUMER,
            status=status,
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )


def open_sender(environ: Mapping[str, str]) -> SpanSender | None:
    """Make the sender that the OTEL_* variables ask for; None where they ask for none."""
    if not is_asked_for(environ):
        return None
    protocol = next((environ[name] for name in PROTOCOLS if environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        log.warning("spans_not_exported", why=f"OTLP over {protocol} is not supported", use="http")
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    # What it has to say of a collector that is away is said here, once a minute.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    sender = SpanSender(OTLPSpanExporter(), environ)
    sender.start()
    return sender


def open_tracer(sender: SpanSender | None, environ: Mapping[str, str]) -> Tracer | None:
    """Make the tracer that feeds *sender*."""
    return Tracer(sampler_of(environ), sender) if sender is not None else None


def is_asked_for(environ: Mapping[str, str]) -> bool:
    """Tell whether traces are to be exported: an endpoint is named, or the exporter is."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environ.get("OTEL_TRACES_EXPORTER", "")
    if exporters.strip():
        return "otlp" in {name.strip().lower() for name in exporters.split(",")}
    return any(environ.get(name) for name in ENDPOINTS)


def _exceptions(span: Span) -> list[Event]:
    """Return the exception of a failed attempt as an event of its span."""
    if span.error is None:
        return []
    from opentelemetry.sdk.trace import Event

    kind, message, *rest = [*span.error, ""]
    found = {"exception.type": str(kind), "exception.message": str(message)}
    if rest and rest[0]:
        found["exception.stacktrace"] = str(rest[0])
    return [Event("exception", found, span.end_ns)]


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    return int(text) if text.isdecimal() and int(text) > 0 else default
