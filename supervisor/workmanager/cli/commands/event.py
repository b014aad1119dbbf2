"""`workmanager event`: publish events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.command import Command, LazyGroup, examples
from workmanager.cli.complete import topic_names
from workmanager.cli.eventoptions import (
    EventOptions,
    attributes_of,
    build_event,
    event_options,
)
from workmanager.cli.output import emit, say
from workmanager.cli.params import DURATION
from workmanager.cli.progress import Progress
from workmanager.cli.publishing import copies, publish_all, read_batch
from workmanager.client.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workmanager.cli.settings import Settings

Json = dict[str, Any]


@click.group("event", cls=LazyGroup, no_args_is_help=True)
@examples(
    'workmanager event publish greetings --data \'{"name": "Ada"}\'',
    "workmanager event publish orders --batch events.jsonl",
)
def event() -> None:
    """Publish events."""


@event.command("publish", cls=Command)
@click.argument("topic", shell_complete=topic_names)
@event_options
@click.option(
    "--count", type=click.IntRange(min=1), default=1, help="So many, each with its own id."
)
@click.option("--batch", metavar="FILE", default="", help="A CloudEvents JSON object a line; or -.")
@click.option(
    "--patience",
    "patience_s",
    type=DURATION,
    default=30.0,
    show_default="30s",
    help="How long to try again while inboxes are full.",
)
@click.pass_obj
@examples(
    'workmanager event publish greetings --data \'{"name": "Ada"}\'',
    "workmanager event publish orders --batch events.jsonl --type order.created",
)
def publish(
    settings: Settings,
    /,
    topic: str,
    count: int,
    batch: str,
    patience_s: float,
    **options: Any,  # noqa: ANN401 - exactly the fields of EventOptions
) -> None:
    """Publish events on a topic; done when they are durable.

    The same source and id published again is not handled again.
    """
    events = _events(EventOptions(**options), batch, count)
    with settings.client() as client, Progress(f"publish to {topic}") as progress:
        try:
            result = publish_all(
                client, topic, events, patience_s=patience_s, on_progress=progress.show
            )
        except ProblemError as problem:
            if problem.metadata.get("published", "0") != "0":
                say(f"{problem.metadata['published']} events were published before this:")
            raise
    emit(settings, "publish", result)


def _events(options: EventOptions, batch: str, count: int) -> Iterator[Json]:
    if not batch:
        return copies(build_event(options), count, has_own_id=bool(options.id_))
    if options.data or options.id_ or count > 1:
        raise click.UsageError("--batch has the data and the ids: give no --data, --id, --count")
    return read_batch(batch, attributes_of(options))
