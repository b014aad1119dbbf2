"""The options that say what an event holds, and the event they make."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from workmanager.cli.params import PAIR
from workmanager.client.events import DEFAULT_SOURCE, DEFAULT_TYPE, new_event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

F = TypeVar("F", bound="Callable[..., object]")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOptions:
    """What the command line says of an event; empty where it says nothing."""

    data: str = ""
    content_type: str = ""
    type_: str = ""
    source: str = ""
    id_: str = ""
    subject: str = ""
    extensions: Sequence[tuple[str, str]] = ()


_OPTIONS = (
    click.option("-d", "--data", default="", help="JSON value, @FILE, or - for standard input."),
    click.option(
        "--content-type", metavar="TYPE", default="", help="Media type of the data, if not JSON."
    ),
    click.option("--type", "type_", default="", help=f"[default: {DEFAULT_TYPE}]"),
    click.option("--source", default="", help=f"[default: {DEFAULT_SOURCE}]"),
    click.option("--id", "id_", default="", help="[default: a random one]"),
    click.option("--subject", default="", help="What the event is about."),
    click.option(
        "--extension", "extensions", type=PAIR, multiple=True, help="Extension attribute."
    ),
)


def event_options(function: F) -> F:
    """Take the fields of `EventOptions`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def attributes_of(options: EventOptions) -> dict[str, str]:
    """Return the attributes that were given."""
    named = {
        "type": options.type_,
        "source": options.source,
        "id": options.id_,
        "subject": options.subject,
    }
    return {name: text for name, text in named.items() if text} | dict(options.extensions)


def build_event(options: EventOptions) -> Json:
    """Make the event.

    Raises:
        click.UsageError: The data cannot be read, or is not JSON and has no content type.
    """
    data: object = None
    if options.data:
        raw = _read(options.data)
        data = raw if options.content_type else _as_json(raw, options.data)
    return new_event(data, attributes=attributes_of(options), content_type=options.content_type)


def _read(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode(errors="surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise click.UsageError(f"--data {text}: {error.strerror}") from error


def _as_json(raw: bytes, shown: str) -> object:
    try:
        return json.loads(raw)
    except ValueError as error:
        shown = shown if len(shown) < 40 else f"{shown[:40]}..."
        raise click.UsageError(
            f"--data {shown}: not JSON: {error}; quote a text as '\"text\"', or say what it is "
            "with --content-type text/plain"
        ) from error
