"""`workmanager install`: makes WorkManager a service of systemd, or takes that back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workmanager.cli.command import PlainCommand, examples
from workmanager.cli.exit_codes import ExitCode
from workmanager.cli.output import say
from workmanager.cli.units import UnitError, UnitFile, own_command, unit_files

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path("/")
RUNNING = Path("/run/systemd/system")  # sd_booted(3)
UNITS = ("workmanager.socket", "workmanager.service")
MAKE = (
    ("systemd-sysusers", "workmanager.conf"),
    ("systemd-tmpfiles", "--create", "workmanager.conf"),
    ("systemctl", "daemon-reload"),
)
STOP = (("systemctl", "disable", "--now", *UNITS),)
FORGET = (("systemctl", "daemon-reload"),)


@click.command("install", cls=PlainCommand)
@click.option("--systemd", is_flag=True, help="As units of systemd; the one way there is.")
@click.option("--uninstall", is_flag=True, help="Stop the service and remove its units.")
@click.option(
    "--prefix",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT,
    show_default=True,
    help="Write below this folder, for a package or an image; then nothing is run.",
)
@click.option("--command", metavar="WORDS", help="How to start it.  [default: this environment]")
@click.option("--dry-run", is_flag=True, help="Show what would be written and run.")
@examples(
    "workmanager install --systemd --dry-run",
    "workmanager install --systemd   # as root; then: systemctl enable --now workmanager",
)
def install(
    systemd: bool, uninstall: bool, prefix: Path, command: str | None, dry_run: bool
) -> None:
    """Install WorkManager as a service of systemd.

    Units are written anew each time; config.toml is written once and then left alone. What the
    service has stored, its settings and its secrets stay when it is uninstalled.
    """
    if not systemd:
        raise click.UsageError("say how: --systemd")
    try:
        files = unit_files(prefix.absolute(), command or ("" if uninstall else own_command()))
        if uninstall:
            _uninstall(files, prefix=prefix, dry_run=dry_run)
        else:
            _install(files, prefix=prefix, dry_run=dry_run)
    except (UnitError, OSError) as error:
        say(f"error: {error}")
        raise click.exceptions.Exit(ExitCode.REFUSED) from error


def _install(files: Sequence[UnitFile], *, prefix: Path, dry_run: bool) -> None:
    for file in files:
        change = _change(file)
        click.echo(f"{change:<9} {file.path}")
        if dry_run and change != "kept":
            click.echo("".join(f"    {line}\n" for line in file.text.splitlines()))
        elif change in ("created", "changed"):
            file.path.parent.mkdir(parents=True, exist_ok=True)
            file.path.write_text(file.text, encoding="utf-8")
            file.path.chmod(0o644)
    _run_all(MAKE, prefix=prefix, dry_run=dry_run)
    say("next: systemctl enable --now workmanager.socket workmanager.service")


def _uninstall(files: Sequence[UnitFile], *, prefix: Path, dry_run: bool) -> None:
    _run_all(STOP, prefix=prefix, dry_run=dry_run)
    for file in files:
        if file.is_kept or not file.path.exists():
            continue
        click.echo(f"removed   {file.path}")
        if not dry_run:
            file.path.unlink()
            if not any(file.path.parent.iterdir()) and file.path.parent.name.endswith(".d"):
                file.path.parent.rmdir()
    _run_all(FORGET, prefix=prefix, dry_run=dry_run)
    say("left alone: /etc/workmanager, /var/lib/workmanager, the user workmanager")


def _change(file: UnitFile) -> str:
    if not file.path.exists():
        return "created"
    if file.is_kept:
        return "kept"
    return "unchanged" if file.path.read_text(encoding="utf-8") == file.text else "changed"


def _run_all(commands: Sequence[Sequence[str]], *, prefix: Path, dry_run: bool) -> None:
    """Run what makes systemd know the files, unless they are for another machine."""
    if prefix.absolute() != ROOT:
        return
    for words in commands:
        click.echo(f"run       {' '.join(words)}")
        if dry_run:
            continue
        if shutil.which(words[0]) is None or not RUNNING.is_dir():
            say(f"skipped: systemd does not run here ({words[0]})")
            continue
        ended = subprocess.run(words, stdin=subprocess.DEVNULL, check=False)
        if ended.returncode:
            say(f"error: {' '.join(words)} ended with {ended.returncode}")
            raise click.exceptions.Exit(ExitCode.FAILED)
