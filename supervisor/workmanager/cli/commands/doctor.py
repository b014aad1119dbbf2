"""`workmanager doctor`: what this host can give a service that runs here."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workmanager.cli.command import Command, examples
from workmanager.cli.daprcheck import examine_dapr
from workmanager.cli.dotnetcheck import examine_dotnet
from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.output import emit_document
from workmanager.cli.params import PAIR
from workmanager.cli.tables import plain_table
from workmanager.cli.text import format_bytes, sanitize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workmanager.cli.settings import Settings as Options
    from workmanager.config import Settings

Json = dict[str, Any]

LEAST_FREE_BYTES = 256 * 2**20  # below that the store will refuse writes before long


@click.command("doctor", cls=Command)
@click.option("--sandbox", "only_sandbox", is_flag=True, help="Only the sandbox, layer by layer.")
@click.option("--dotnet", "only_dotnet", is_flag=True, help="Only .NET: what is found and tried.")
@click.option("--dapr", "only_dapr", is_flag=True, help="Only the Dapr sidecar: what is tried.")
@click.option(
    "--resources",
    type=click.Path(path_type=Path),
    help="Folder of Dapr's component files to look at, with --dapr.",
)
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML file.")
@click.option("--set", "pairs", type=PAIR, multiple=True, help="A setting, as for serve.")
@click.pass_obj
@examples("workmanager doctor", "workmanager doctor --dotnet", "workmanager doctor --dapr")
def doctor(
    options: Options,
    only_sandbox: bool,
    only_dotnet: bool,
    only_dapr: bool,
    resources: Path | None,
    config: Path | None,
    pairs: Sequence[tuple[str, str]],
) -> None:
    """Look at this host: what a service would find here. No service has to run.

    The sandbox is tried, level by level, in processes that end at once; so is .NET where it is
    asked for. Run it as the user the service runs as. Exit code 0 if all is well, 1 if something
    is not, 78 if a sandbox layer that the settings require cannot be had.
    """
    from workmanager.executors.isolation import examine

    settings = _settings(config, dict(pairs))
    if only_sandbox + only_dotnet + only_dapr > 1:
        raise click.UsageError("--sandbox, --dotnet and --dapr are three questions; ask one")
    if resources is not None and not only_dapr:
        raise click.UsageError("--resources goes with --dapr")
    if only_dapr:
        examine_dapr(options, settings, resources)
        return
    if only_dotnet:
        examine_dotnet(options, settings)
        return
    sandbox = examine(settings)
    checks = [] if only_sandbox else [*_host(settings), *_engines(settings)]
    checks.append(_sandbox(sandbox, settings))
    found = {"status": _worst(checks), "checks": checks, "sandbox": sandbox}
    if options.is_table:
        _show(found, with_layers=only_sandbox or options.output == "wide")
    else:
        emit_document(options, found)
    if not sandbox["ok"]:
        raise click.exceptions.Exit(ExitCode.NO_SANDBOX)
    if found["status"] != "ok":
        raise click.exceptions.Exit(ExitCode.FAILED)


def _settings(config: Path | None, given: Mapping[str, str]) -> Settings:
    from workmanager.config import load_settings
    from workmanager.errors import InvalidArgumentError

    try:
        return load_settings(config, given)
    except InvalidArgumentError as error:
        raise click.UsageError(str(error)) from error


def _host(settings: Settings) -> list[Json]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    place = next(path for path in (settings.state, *settings.state.parents) if path.exists())
    free = shutil.disk_usage(place).free
    checks = [_check("python", True, version)]
    is_writable = os.access(place, os.W_OK | os.X_OK)
    words = f"{settings.state}: {'can' if is_writable else 'cannot'} be written"
    checks.append(_check("state", is_writable, words))
    checks.append(_check("disk", free >= LEAST_FREE_BYTES, f"{format_bytes(free)} free"))
    return checks


def _engines(settings: Settings) -> list[Json]:
    """Say which engines can run; one that cannot is no fault of a host that does not need it."""
    from workmanager.engines.registry import all_engines

    return [
        _check(
            f"engine {engine.media_type}",
            True,
            engine.runtime_version if engine.available else f"not here: {engine.detail}",
        )
        for engine in all_engines(settings)
    ]


def _sandbox(sandbox: Json, settings: Settings) -> Json:
    if sandbox["fault"]:
        return _check("sandbox", False, sandbox["fault"])
    is_wanted = sandbox["level"] != "none" or settings.sandbox_level == "none"
    weak = [layer["layer"] for layer in sandbox["layers"] if layer["remedy"]]
    words = f"level {sandbox['level']}" + (f"; weak: {', '.join(weak)}" if weak else "")
    return _check("sandbox", is_wanted, words)


def _check(name: str, good: bool, detail: str) -> Json:
    return {"name": name, "status": "ok" if good else "failed", "detail": detail}


def _worst(checks: Sequence[Json]) -> str:
    return "ok" if all(check["status"] == "ok" for check in checks) else "failed"


def _show(found: Json, *, with_layers: bool) -> None:
    for check in found["checks"]:
        click.echo(sanitize(f"{check['name']}: {check['status']}, {check['detail']}"))
    if with_layers:
        _show_layers(found["sandbox"])


def _show_layers(sandbox: Json) -> None:
    host = sandbox["host"]
    words = f"Linux {host['kernel']} on {host['machine']}, Landlock ABI {host['landlockAbi']}"
    click.echo("\n" + sanitize(words))
    rows = [[x["level"], "yes" if x["passes"] else "no", x["layer"]] for x in sandbox["levels"]]
    click.echo(plain_table(["LEVEL", "PASSES", "MISSING"], rows))
    rows = [
        [x["layer"], x["state"], "yes" if x["required"] else "", x["detail"]]
        for x in sandbox["layers"]
    ]
    click.echo(plain_table(["LAYER", "STATE", "REQUIRED", "DETAIL"], rows), nl=False)
    for missing in (*sandbox["levels"], *sandbox["layers"]):
        if missing["remedy"]:
            what = missing["layer"] or missing["level"]
            why = f" ({missing['detail']})" if missing.get("level") else ""
            click.echo("\n" + sanitize(f"to get {what}{why}: {missing['remedy']}"))
