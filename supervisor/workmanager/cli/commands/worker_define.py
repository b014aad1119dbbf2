"""`worker apply` and `worker diff`: manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.command import Command, examples
from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.manifests import load_manifests
from workmanager.cli.output import emit_all, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.cli.settings import Settings

_FILES = click.option(
    "-f",
    "--file",
    "files",
    metavar="FILE",
    multiple=True,
    required=True,
    type=click.Path(exists=True, allow_dash=True),
    help="Manifest, folder of manifests, or - for standard input; may be repeated.",
)


@click.command("apply", cls=Command)
@_FILES
@click.option("--dry-run", is_flag=True, help="Check and say what would be done; change nothing.")
@click.option(
    "--if-match", metavar="ETAG", default="", help="Only if the worker still has this etag."
)
@click.pass_obj
@examples(
    "workmanager worker apply -f worker.yaml",
    "workmanager worker apply -f workers/ --dry-run",
)
def apply(settings: Settings, files: Sequence[str], *, dry_run: bool, if_match: str) -> None:
    """Create workers or change them to what their manifests say.

    Says created, changed or unchanged for each; applying the same manifest again changes nothing.
    In a manifest, `code: {file: ./x.py}` takes the code from a file beside it.
    """
    manifests = load_manifests(files)
    if if_match and len(manifests) > 1:
        raise click.UsageError(f"--if-match is for one worker, and these are {len(manifests)}")
    results: list[dict[str, Any]] = []
    with settings.client() as client:
        for manifest in manifests:
            try:
                result = client.apply_worker(
                    manifest.name, manifest.document, if_match=if_match, dry_run=dry_run
                )
            except Exception:  # said, with what was done before it, and raised again
                _say_partial(settings, results, manifest.origin)
                raise
            results.append(result)
    emit_all(settings, "apply", results)
    if dry_run:
        say("dry run: nothing was changed")


@click.command("diff", cls=Command)
@_FILES
@click.pass_obj
@examples(
    "workmanager worker diff -f worker.yaml",
    "workmanager worker diff -f workers/ && echo nothing to do",
)
def diff(settings: Settings, files: Sequence[str]) -> None:
    """Show what an apply would change.

    Exit code 6 if there is anything.
    """
    manifests = load_manifests(files)
    with settings.client() as client:
        found = [client.diff_worker(each.name, each.document) for each in manifests]
    differing = [each for each in found if each["changes"] or not each["exists"]]
    if settings.is_table:
        _emit_changes(settings, differing)
    else:
        emit_all(settings, "change", found)
    if differing:
        raise click.exceptions.Exit(ExitCode.DIFFERS)
    say("no differences")


def _say_partial(settings: Settings, results: list[dict[str, Any]], origin: str) -> None:
    if results:
        emit_all(settings, "apply", results)
    say(f"stopped at {origin}:")


def _emit_changes(settings: Settings, diffs: list[dict[str, Any]]) -> None:
    rows = [{"worker": each["worker"], **change} for each in diffs for change in each["changes"]]
    rows += [
        {"worker": each["worker"], "path": "(whole)", "new": "would be created"}
        for each in diffs
        if not each["exists"] and not each["changes"]
    ]
    if rows:
        emit_all(settings, "change", rows)
