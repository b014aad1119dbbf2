"""Completion of live names: asks the service, and stays silent where it does not answer at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.cli.settings import Settings
from workmanager.client.problems import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click

    from workmanager.client.light import LightClient

TIMEOUT_S = 1.0
PAGE_SIZE = 1000


def worker_names(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete names of workers, leaving out those already given."""
    given = set(context.params.get("names") or ())
    items = _ask(context, lambda client: client.list_workers(page_size=PAGE_SIZE)["items"])
    return [name for name in _names(items, "name", incomplete) if name not in given]


def version_ids(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the ids of versions of the worker that the command line names."""
    worker = context.params.get("name")
    if not worker:
        return []
    items = _ask(context, lambda client: client.list_versions(worker)["items"])
    return _names(items, "id", incomplete)


def group_names(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete names of groups."""
    return _names(_ask(context, lambda client: client.list_groups()["items"]), "name", incomplete)


def application_names(
    context: click.Context, _param: click.Parameter, incomplete: str
) -> list[str]:
    """Complete names of applications."""
    found = _ask(context, lambda client: client.list_applications()["items"])
    return _names(found, "name", incomplete)


def executor_ids(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the ids of executors."""
    return _names(_ask(context, lambda client: client.list_executors()["items"]), "id", incomplete)


def topic_names(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the topics that workers consume."""
    workers = _ask(context, lambda client: client.list_workers(page_size=PAGE_SIZE)["items"])
    triggers = (trigger for worker in workers for trigger in worker["spec"].get("triggers", ()))
    return sorted(set(_names(triggers, "topic", incomplete)))


def _ask(
    context: click.Context, question: Callable[[LightClient], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    settings = context.find_object(Settings) or Settings()
    try:
        with settings.client(timeout_s=TIMEOUT_S) as client:
            return question(client)
    except ClientError:
        return []


def _names(items: Iterable[dict[str, Any]], member: str, incomplete: str) -> list[str]:
    names = (str(item[member]) for item in items)
    return [name for name in names if name.startswith(incomplete)]
