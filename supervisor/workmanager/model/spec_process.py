"""How the processes of a worker are started, watched, bounded, replaced and ended."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workmanager.model.spec_base import Breaches, Interval, Model, PositiveInterval, Rule, Whole
from workmanager.model.units import Duration, Size

MIB = 2**20
GIB = 2**30


def _answer_within_period(liveness: "Liveness") -> Breaches:
    if liveness.period_s and liveness.timeout_s > liveness.period_s:
        yield (
            ("timeout",),
            f"{liveness.timeout_s:g} s must not exceed period, {liveness.period_s:g} s",
        )


class Liveness(Model):
    """A ping every *period_s* (0 = off); *failures* in a row unanswered kill the executor.

    A side thread of the executor answers, so a long-running handler does not fail it.
    """

    period_s: Interval = 10.0
    timeout_s: PositiveInterval = 2.0
    failures: Annotated[Whole, Field(ge=1, le=100)] = 3

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(frozenset({"period_s", "timeout_s"}), _answer_within_period),
    )


class Probes(Model):
    """How an executor is known to be alive."""

    liveness: Liveness = Liveness()


def _initial_within_maximum(restart: "Restart") -> Breaches:
    if restart.backoff_initial_s > restart.backoff_max_s:
        maximum = f"backoffMax, {restart.backoff_max_s:g} s"
        yield ("backoffInitial",), f"{restart.backoff_initial_s:g} s must not exceed {maximum}"


class Restart(Model):
    """What happens when an executor ends unasked (names: systemd.unit's start limit).

    A start that lasts less than *start_seconds* counts as failed; *start_limit_burst* unasked
    ends within *start_limit_interval_s* make the worker FAILED (burst 0 = never give up). After
    *half_open_after_s* (0 = never) one executor is tried; the rest follows when it has held out.
    """

    policy: Literal["always", "on-failure", "never"] = "always"
    backoff_initial_s: PositiveInterval = 1.0
    backoff_max_s: PositiveInterval = 60.0
    start_seconds: Interval = 1.0
    start_limit_burst: Annotated[Whole, Field(ge=0, le=1000)] = 5
    start_limit_interval_s: PositiveInterval = 300.0
    half_open_after_s: Interval = 300.0

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(frozenset({"backoff_initial_s", "backoff_max_s"}), _initial_within_maximum),
    )


class Drain(Model):
    """How long running attempts may finish, and how long after SIGTERM comes SIGKILL."""

    grace_period_s: Annotated[Duration, Field(ge=0, le=3600)] = 30.0
    kill_after_s: Annotated[Duration, Field(ge=0, le=600)] = 5.0


class Recycle(Model):
    """When a healthy executor is replaced by a fresh one; 0 = never for that reason."""

    max_tasks: Annotated[Whole, Field(ge=0, le=10**12)] = 0
    max_age_s: Interval = 0.0
    max_memory_bytes: Annotated[Size, Field(ge=0, le=2**44)] = 0


class Resources(Model):
    """What one executor may use (names: systemd.resource-control).

    256 files, because CoreCLR alone holds 48, and more would let a worker keep tens of MiB in
    socket buffers that no memory limit sees.
    """

    memory_max_bytes: Annotated[Size, Field(ge=16 * MIB, le=2**44)] = 256 * MIB
    cpu_max_cores: Annotated[float, Field(strict=True, ge=0.01, le=1024)] = 1.0
    cpu_weight: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    io_weight: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    pids_max: Annotated[Whole, Field(ge=1, le=100_000)] = 64
    files_max: Annotated[Whole, Field(ge=32, le=1_000_000)] = 256
    file_size_max_bytes: Annotated[Size, Field(ge=0, le=2**44)] = 64 * MIB
    tmp_size_bytes: Annotated[Size, Field(ge=0, le=256 * GIB)] = 64 * MIB


def _ports_have_use(isolation: "Isolation") -> Breaches:
    if isolation.ports and isolation.network != "ports":
        yield ("ports",), f"has no meaning with network '{isolation.network}'; use 'ports'"
    if not isolation.ports and isolation.network == "ports":
        yield ("ports",), "must list the TCP ports the worker may connect to"


def _paths_absolute(isolation: "Isolation") -> Breaches:
    for index, path in enumerate(isolation.read_paths):
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            yield ("readPaths", index), "must be an absolute path without '..'"


class Isolation(Model):
    """What one executor may see and reach.

    *level* `auto` takes the strongest the host offers; a named level is required, and the worker
    does not start where it is not to be had.
    """

    level: Literal["auto", "none", "basic", "full", "uid"] = "auto"
    network: Literal["none", "loopback", "ports", "full"] = "none"
    ports: Annotated[
        tuple[Annotated[Whole, Field(ge=1, le=65_535)], ...], Field(max_length=64)
    ] = ()
    subprocess: Literal["deny", "allow"] = "deny"
    read_paths: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...], Field(max_length=64)
    ] = ()

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(frozenset({"network", "ports"}), _ports_have_use),
        Rule(frozenset({"read_paths"}), _paths_absolute),
    )
