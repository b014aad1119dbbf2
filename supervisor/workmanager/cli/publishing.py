"""Publishes any number of events: in batches, waiting while inboxes are full."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from workmanager.client.events import new_event
from workmanager.client.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from workmanager.client.light import LightClient

Json = dict[str, Any]

BATCH_EVENTS = 1000  # one commit of the service
BATCH_BYTES = 1024 * 1024  # well below what the service takes in a body
DEFAULT_RETRY_S = 0.5
WAITABLE = frozenset({"INBOX_FULL", "STORE_UNAVAILABLE", "SHUTTING_DOWN"})


def copies(event: Json, count: int, *, has_own_id: bool) -> Iterator[Json]:
    """Yield *count* events like *event*, each with its own id: `ID-1`, `ID-2` where one was given.

    A single one is left as it is.
    """
    if count == 1:
        yield event
        return
    for number in range(1, count + 1):
        own = f"{event['id']}-{number}" if has_own_id else new_event()["id"]
        yield {**event, "id": own}


def read_batch(source: str, attributes: Mapping[str, str]) -> Iterator[Json]:
    """Yield the events of a file of one CloudEvents JSON object a line; `-` is standard input.

    *attributes* and the defaults fill in what an event lacks.

    Raises:
        click.UsageError: The file cannot be read, or a line is no JSON object; the lines before it
            were yielded.
    """
    try:
        with click.open_file(source, "rb") if source != "-" else sys.stdin.buffer as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield new_event() | dict(attributes) | _object(line, source, number)
    except OSError as error:
        raise click.UsageError(f"--batch {source}: {error.strerror}") from error


def publish_all(
    client: LightClient,
    topic: str,
    events: Iterable[Json],
    *,
    patience_s: float,
    on_progress: Callable[[str], None],
) -> Json:
    """Publish *events* in order; returns the sum of what the service said.

    Raises:
        ProblemError: The service refused a batch, and would not take it within *patience_s* seconds
            either; `metadata` of it has `published`, the number of events before it.
    """
    total = {"topic": topic, "accepted": 0, "duplicates": 0, "deliveries": 0}
    for batch in batches(events):
        try:
            result = _publish_patiently(client, topic, batch, patience_s, on_progress)
        except ProblemError as problem:
            problem.metadata["published"] = str(total["accepted"])
            raise
        total = {**total, **{key: total[key] + result[key] for key in total if key != "topic"}}
        on_progress(f"{total['accepted']:,} events")
    return total


def batches(events: Iterable[Json]) -> Iterator[list[Json]]:
    """Cut *events* into batches of at most `BATCH_EVENTS`, and about `BATCH_BYTES`."""
    batch: list[Json] = []
    size = 0
    for event in events:
        batch.append(event)
        size += len(json.dumps(event))
        if len(batch) == BATCH_EVENTS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _publish_patiently(
    client: LightClient,
    topic: str,
    batch: list[Json],
    patience_s: float,
    on_progress: Callable[[str], None],
) -> Json:
    ends_at_s = time.monotonic() + patience_s
    while True:
        try:
            result: Json = client.publish(topic, batch)
        except ProblemError as problem:
            pause_s = problem.retry_after_s or DEFAULT_RETRY_S
            if problem.reason not in WAITABLE or time.monotonic() + pause_s > ends_at_s:
                raise
            on_progress(f"waiting: {problem.detail}")
            time.sleep(pause_s)
        else:
            return result


def _object(line: bytes, source: str, number: int) -> Json:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise click.UsageError(f"--batch {source}, line {number}: {error}") from error
    if not isinstance(value, dict):
        raise click.UsageError(f"--batch {source}, line {number}: an event is a JSON object")
    return value
