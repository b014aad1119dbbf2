"""`worker create`: a worker from a code file and a few options, or from a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.codefiles import code_of, engine_of
from workmanager.cli.command import Command, examples
from workmanager.cli.complete import group_names, topic_names
from workmanager.cli.output import emit, emit_all, say
from workmanager.cli.params import PAIR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.cli.settings import Settings

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What the options of `worker create` say of the worker."""

    code: str
    url: str
    engine: str
    handler: str
    python: str
    topics: Sequence[str]
    output_topic: str
    group: str
    executors: int | None
    env: Sequence[tuple[str, str]]
    labels: Sequence[tuple[str, str]]


@click.command("create", cls=Command)
@click.argument("name", required=False)
@click.option("-f", "--file", metavar="FILE", default="", help="Take a manifest instead (or -).")
@click.option("--code", metavar="FILE", default="", help="File with the code, or - for stdin.")
@click.option("--url", default="", help="Where the service fetches the code from.")
@click.option("--engine", metavar="TYPE", default="", help="Media type of the code, if not clear.")
@click.option("--handler", metavar="NAME", default="", help="Handler, as module:function.")
@click.option("--python", metavar="PATH", default="", help="Interpreter or venv to run it with.")
@click.option(
    "--topic",
    "topics",
    metavar="TOPIC",
    multiple=True,
    shell_complete=topic_names,
    help="Handle its events.",
)
@click.option("--output-topic", metavar="TOPIC", default="", help="Where output events go.")
@click.option(
    "--group",
    metavar="NAME",
    default="",
    shell_complete=group_names,
    help="Exclude the others in it.",
)
@click.option("--executors", type=click.IntRange(min=1), help="Processes to run it in.")
@click.option("--env", type=PAIR, multiple=True, help="Environment variable of the executor.")
@click.option("--label", "labels", type=PAIR, multiple=True, help="Label of the worker.")
@click.option("--no-start", is_flag=True, help="Leave it STOPPED.")
@click.pass_obj
@examples(
    "workmanager worker create hello --code hello.py --topic greetings",
    "workmanager worker create sum --code sum.py --topic orders --output-topic totals --group g",
)
def create(
    settings: Settings,
    /,
    name: str | None,
    file: str,
    *,
    no_start: bool,
    **options: Any,  # noqa: ANN401 - exactly the fields of Definition
) -> None:
    """Create a worker and start it.

    One that exists is left alone (exit code 4). Without a name the service gives it a GUID.
    """
    documents = _documents(name, file, Definition(**options))
    with settings.client() as client:
        workers = [client.create_worker(each, start=not no_start) for each in documents]
    if len(workers) == 1:
        emit(settings, "worker", workers[0])
    else:
        emit_all(settings, "worker", workers)
    for worker in workers:
        say(f"created; try: workmanager worker wait {worker['name']} --for running")


def _documents(name: str | None, file: str, definition: Definition) -> list[Json]:
    has_code = bool(definition.code or definition.url)
    if file and (name or has_code):
        raise click.UsageError("--file says it all: give no NAME, --code or --url with it")
    if file:
        from workmanager.cli.manifests import load_manifests

        return [manifest.document for manifest in load_manifests([file])]
    if not has_code or (definition.code and definition.url):
        raise click.UsageError("give one of --code, --url and --file")
    return [manifest_of(name, definition)]


def manifest_of(name: str | None, definition: Definition) -> Json:
    """Make the manifest that *definition* stands for; what was not given is left out."""
    spec = {
        "engine": definition.engine or engine_of(definition.code or definition.url),
        "handler": definition.handler,
        "python": definition.python,
        "code": _code(definition),
        "triggers": [{"topic": topic} for topic in definition.topics],
        "outputs": {"topic": definition.output_topic} if definition.output_topic else None,
        "group": definition.group,
        "concurrency": {"executors": definition.executors} if definition.executors else None,
        "env": dict(definition.env),
    }
    metadata = {"name": name, "labels": dict(definition.labels)}
    return {
        "apiVersion": "workmanager/v1",
        "kind": "Worker",
        "metadata": {key: value for key, value in metadata.items() if value},
        "spec": {key: value for key, value in spec.items() if value},
    }


def _code(definition: Definition) -> Json:
    if definition.url:
        return {"url": definition.url}
    try:
        return code_of(definition.code)
    except OSError as error:
        raise click.UsageError(f"{definition.code}: {error.strerror}") from error
