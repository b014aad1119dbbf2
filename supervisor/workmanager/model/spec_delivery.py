"""How events reach a worker and what becomes of them: triggers, order, retries, dead letters.

Zero means "off" wherever zero is allowed. Every number has an upper bound: a bound keeps a slip of
the keyboard from becoming an outage.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workmanager.model.names import (
    AttributeName,
    GroupName,
    OptionalKeyExpression,
    OptionalTopicName,
    TopicName,
)
from workmanager.model.spec_base import (
    Breaches,
    Flag,
    Interval,
    Model,
    PositiveInterval,
    Rule,
    Whole,
)
from workmanager.model.spec_filters import Filters
from workmanager.model.units import Duration, Size

OWN_ATTRIBUTES = frozenset(
    {"id", "source", "specversion", "type", "time", "datacontenttype", "causationid"}
)
DEFAULT_ORDERING_KEY = "partitionkey"


class Trigger(Model):
    """One topic a worker consumes; an event passes when all *filters* do."""

    topic: TopicName
    filters: Filters = ()


def _copyable(outputs: "Outputs") -> Breaches:
    for index, name in enumerate(outputs.copied_attributes):
        if name in OWN_ATTRIBUTES:
            yield ("copy", index), f"{name!r} is set by WorkManager on every output"


class Outputs(Model):
    """Where output events go; *copied_attributes* (`copy`) are taken over from the input event."""

    topic: OptionalTopicName = ""
    type: Annotated[str, Field(max_length=256)] = ""
    max_per_task: Annotated[Whole, Field(ge=0, le=10_000)] = 1000
    copied_attributes: Annotated[tuple[AttributeName, ...], Field(alias="copy", max_length=32)] = ()

    rules: ClassVar[tuple[Rule, ...]] = (Rule(frozenset({"copied_attributes"}), _copyable),)


class Group(Model):
    """Workers that exclude each other: at most *limit* attempts at a time (per *key*, if given).

    `delivery: once` hands an event on a topic that members share to one of them, `each` to all,
    one after the other.
    """

    name: GroupName
    key: OptionalKeyExpression = ""
    limit: Annotated[Whole, Field(ge=1, le=1000)] = 1
    delivery: Literal["once", "each"] = "once"
    scope: Literal["auto", "host", "cluster"] = "auto"
    max_hold_s: PositiveInterval = 5.0

    @property
    def is_claiming(self) -> bool:
        """Whether its events are shared with groups of this name of other app-ids."""
        return self.scope == "cluster" and self.delivery == "once"


def _key_has_use(ordering: "Ordering") -> Breaches:
    if ordering.key and ordering.mode != "key":
        yield ("key",), f"has no meaning with mode '{ordering.mode}'; set mode to 'key'"


class Ordering(Model):
    """FIFO by inbox arrival: not at all, per key, or for the whole worker."""

    mode: Literal["none", "key", "strict"] = "none"
    key: OptionalKeyExpression = ""

    rules: ClassVar[tuple[Rule, ...]] = (Rule(frozenset({"mode", "key"}), _key_has_use),)

    @property
    def key_expression(self) -> str:
        """The key events are ordered by; empty where all of them, or none, are ordered."""
        return (self.key or DEFAULT_ORDERING_KEY) if self.mode == "key" else ""


def _window_has_use(batch: "Batch") -> Breaches:
    if batch.window_s and batch.size == 1:
        yield ("window",), "has no meaning with size 1; raise size or remove window"


class Batch(Model):
    """How many events one handler call gets, and how long to wait for them to gather."""

    size: Annotated[Whole, Field(ge=1, le=10_000)] = 1
    window_s: Annotated[Duration, Field(ge=0, le=60)] = 0.0
    bisect_on_error: Flag = True

    rules: ClassVar[tuple[Rule, ...]] = (Rule(frozenset({"size", "window_s"}), _window_has_use),)


class Concurrency(Model):
    """Executors of the worker, and handler calls each may have running (async handlers only)."""

    executors: Annotated[Whole, Field(ge=1, le=64)] = 1
    per_executor: Annotated[Whole, Field(ge=1, le=1000)] = 1


def _burst_has_use(rate: "RateLimit") -> Breaches:
    if rate.burst and not rate.limit:
        yield ("burst",), "has no meaning without limit"


class RateLimit(Model):
    """At most *limit* attempts start per *per_s* seconds; *burst* at once (0 = *limit*)."""

    limit: Annotated[Whole, Field(ge=0, le=10_000_000)] = 0
    per_s: PositiveInterval = 1.0
    burst: Annotated[Whole, Field(ge=0, le=10_000_000)] = 0

    rules: ClassVar[tuple[Rule, ...]] = (Rule(frozenset({"limit", "burst"}), _burst_has_use),)


def _initial_within_maximum(retry: "Retry") -> Breaches:
    if retry.initial_interval_s > retry.maximum_interval_s:
        maximum = f"maximumInterval, {retry.maximum_interval_s:g} s"
        yield ("initialInterval",), f"{retry.initial_interval_s:g} s must not exceed {maximum}"


class Retry(Model):
    """When a failed attempt is made again (names: Temporal's retry policy)."""

    backoff: Literal["exponential", "fixed", "linear"] = "exponential"
    initial_interval_s: Interval = 1.0
    backoff_coefficient: Annotated[float, Field(strict=True, ge=1, le=100)] = 2.0
    maximum_interval_s: Interval = 60.0
    maximum_attempts: Annotated[Whole, Field(ge=1, le=1000)] = 5
    jitter: Literal["full", "none"] = "full"
    non_retryable_error_types: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=64)
    ] = ()

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(frozenset({"initial_interval_s", "maximum_interval_s"}), _initial_within_maximum),
    )


def _heartbeat_first(timeouts: "Timeouts") -> Breaches:
    if timeouts.heartbeat_s >= timeouts.start_to_close_s:
        limit = f"startToClose, {timeouts.start_to_close_s:g} s"
        yield ("heartbeat",), f"{timeouts.heartbeat_s:g} s must be less than {limit}"


def _start_within_schedule(timeouts: "Timeouts") -> Breaches:
    whole = timeouts.schedule_to_close_s
    for name, part in (
        ("scheduleToStart", timeouts.schedule_to_start_s),
        ("startToClose", timeouts.start_to_close_s),
    ):
        if whole and part > whole:
            yield (name,), f"{part:g} s must not exceed scheduleToClose, {whole:g} s"


class Timeouts(Model):
    """How long a task may wait, run, and take in all (names: Temporal's).

    *start_s* bounds an executor's start until it is ready. Both this and *start_to_close_s* cannot
    be off: whatever runs has an end.
    """

    schedule_to_start_s: Interval = 0.0
    start_to_close_s: PositiveInterval = 60.0
    schedule_to_close_s: Interval = 3600.0
    heartbeat_s: Interval = 0.0
    start_s: Annotated[Duration, Field(ge=0.01, le=3600)] = 30.0

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(frozenset({"heartbeat_s", "start_to_close_s"}), _heartbeat_first),
        Rule(
            frozenset({"schedule_to_start_s", "start_to_close_s", "schedule_to_close_s"}),
            _start_within_schedule,
        ),
    )


class DeadLetter(Model):
    """Where tasks go that used up their attempts, how long they stay, how many crashes they get."""

    topic: OptionalTopicName = ""
    retention_s: Annotated[Interval, Field(description="0 keeps them until purged.")] = 1_209_600.0
    max_crashes: Annotated[Whole, Field(ge=1, le=100)] = 3


class Dedupe(Model):
    """How long an event's (source, id) is remembered, and how many of them; window 0 is off."""

    window_s: Interval = 3600.0
    max_entries: Annotated[Whole, Field(ge=1, le=10_000_000)] = 1_000_000


class Inbox(Model):
    """How much may wait, and what gives at the limit."""

    max_count: Annotated[Whole, Field(ge=1, le=10_000_000)] = 10_000
    max_bytes: Annotated[Size, Field(ge=1024, le=2**40, alias="maxBytes")] = 256 * 2**20
    on_full: Literal["pause", "dead-letter", "drop-oldest"] = "pause"
