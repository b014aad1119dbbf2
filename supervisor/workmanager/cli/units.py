"""The files that make WorkManager a service of systemd, fitted to where this command is installed.

They stand in `systemd/` of the source, and beside the package where it is installed from a wheel.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import workmanager

PLACES = {
    "workmanager.service": "etc/systemd/system/workmanager.service",
    "workmanager.socket": "etc/systemd/system/workmanager.socket",
    "workmanager.service.d/example.conf": "etc/systemd/system/workmanager.service.d/example.conf",
    "tmpfiles.d/workmanager.conf": "etc/tmpfiles.d/workmanager.conf",
    "sysusers.d/workmanager.conf": "etc/sysusers.d/workmanager.conf",
    "config.toml": "etc/workmanager/config.toml",
}
KEPT = frozenset({"config.toml"})  # the operator's: written once, never replaced or removed
TEMPLATE_COMMAND = "ExecStart=/usr/bin/workmanager serve"
HIDDEN = ("/home", "/root", "/run/user")  # by ProtectHome=yes
FOR_OTHERS = stat.S_IROTH | stat.S_IXOTH


class UnitError(Exception):
    """The service could not be started from here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A file to write: where, what, and whether it is the operator's once it is there."""

    path: Path
    text: str
    is_kept: bool


def unit_files(prefix: Path, command: str) -> list[UnitFile]:
    """Return every file of the service below *prefix*; *command* starts the service."""
    folder = _templates()
    found = []
    for name, place in PLACES.items():
        text = (folder / name).read_text(encoding="utf-8")
        if name == "workmanager.service":
            assert TEMPLATE_COMMAND in text  # noqa: S101 - both are ours
            text = text.replace(TEMPLATE_COMMAND, f"ExecStart={command}")
        found.append(UnitFile(prefix / place, text, name in KEPT))
    return found


def own_command() -> str:
    """Return the command that starts the service from this environment.

    Raises:
        UnitError: The service's user could not reach it.
    """
    for path in (Path(sys.prefix), Path(sys.base_prefix), Path(workmanager.__file__).parent):
        _check_reachable(path)
    script = Path(sys.prefix) / "bin" / "workmanager"
    if script.is_file():
        return f"{_quoted(str(script))} serve"
    return f"{_quoted(sys.executable)} -m workmanager.cli serve"


def _templates() -> Path:
    package = Path(workmanager.__file__).parent
    beside = package / "systemd"
    return beside if beside.is_dir() else package.parents[1] / "systemd"


def _check_reachable(path: Path) -> None:
    if any(path.is_relative_to(folder) for folder in HIDDEN):
        raise UnitError(
            f"{path} is in a home, which the service does not see (ProtectHome=yes); install"
            " WorkManager outside, such as in /opt/workmanager, or give --command"
        )
    for folder in (path, *path.parents):
        if os.stat(folder).st_mode & FOR_OTHERS != FOR_OTHERS:  # noqa: PTH116 - follows links
            raise UnitError(
                f"{folder} cannot be read by the user workmanager; run chmod o+rx {folder}, or"
                " give --command"
            )


def _quoted(word: str) -> str:
    """Quote a word of a command as systemd.service(5) wants it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if " " in word else escaped
