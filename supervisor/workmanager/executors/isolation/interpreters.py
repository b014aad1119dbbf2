"""Which folders another interpreter needs to run: its environment's, and those it was made from.

A virtual environment is a folder with `pyvenv.cfg` that borrows its standard library from the
interpreter it was made with; both have to be seen inside the sandbox, and nothing beside them. What
`.pth` files name elsewhere is not: a worker that needs it lists it under `isolation.readPaths`.

Source: PEP 405; the site module; CPython's getpath.py.
"""

from __future__ import annotations

import pwd
from pathlib import Path

_SHOWN_ANYWAY = (Path("/"), Path("/usr"))  # /usr is part of every executor's tree
_PARTS = ("bin", "lib", "lib64", "libexec", "share/zoneinfo")


def folders_of(python: str) -> list[str]:
    """Return the folders that *python*, the path of an executable, needs; outermost are enough."""
    executable = Path(python)
    found: dict[str, None] = {}
    environment = _environment_of(executable)
    if environment is not None:
        found[str(environment)] = None
    for binary in (executable, *_made_with(environment)):
        for folder in _installation_of(binary):
            found[str(folder)] = None
    return list(found) or [python]


def _environment_of(executable: Path) -> Path | None:
    """Return the virtual environment that *executable* belongs to; None if it is in none."""
    for folder in (executable.parent, executable.parent.parent):
        if (folder / "pyvenv.cfg").is_file():
            return folder
    return None


def _made_with(environment: Path | None) -> list[Path]:
    """Return the interpreters that the environment names as its origin."""
    if environment is None:
        return []
    settings: dict[str, str] = {}
    text = (environment / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        key, _, value = line.partition("=")
        settings[key.strip().lower()] = value.strip()
    found = [Path(settings["executable"])] if settings.get("executable") else []
    if settings.get("home"):
        found.append(Path(settings["home"]) / "python3")
    return [path for path in found if path.is_absolute()]


def _installation_of(binary: Path) -> list[Path]:
    """Return the folders of the installation that *binary* really is in."""
    try:
        real = binary.resolve(strict=True)
    except (OSError, RuntimeError):  # a dangling link, or a circle of them
        real = binary
    prefix = real.parent.parent
    if prefix in _SHOWN_ANYWAY:
        return []
    if _is_whole(prefix):
        return [prefix]
    return [path for path in (real, *(prefix / part for part in _PARTS[1:])) if path.exists()]


def _is_whole(prefix: Path) -> bool:
    """Tell whether *prefix* is an installation, and not somebody's home that has one in it."""
    if not any(prefix.glob("lib*/python3*")):
        return False
    return prefix not in {Path(entry.pw_dir) for entry in pwd.getpwall()} and len(prefix.parts) > 2
