"""Secrets that the worker was given: taken out of LOAD before anything else sees them.

load["secrets"] = {"env": {variable: text}, "files": {name: bytes}}

Files lie in a folder of the executor's scratch, which is gone with it. They are not in the
environment that the process began with, which others may read in /proc.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from workmanager_executor.job import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

FOLDER_VARIABLE = "CREDENTIALS_DIRECTORY"  # the name that systemd has for it
FOLDER_NAME = ".credentials"


def take_secrets(fields: MutableMapping[str, object]) -> None:
    """Put the secrets of a LOAD frame where user code finds them, and out of the frame.

    Raises:
        ProtocolError: They are not in the form above.
        OSError: There is no room for the files.
    """
    secrets = fields.pop("secrets", None)
    if secrets is None:
        return
    if not isinstance(secrets, dict):
        raise ProtocolError("load: secrets: a map is needed")
    for name, value in _part(secrets, "env", str).items():
        os.environ[name] = str(value)
    files = _part(secrets, "files", bytes)
    if files:
        _write_all(files)


def _write_all(files: Mapping[str, object]) -> None:
    folder = os.path.join(os.environ.get("TMPDIR", "/tmp"), FOLDER_NAME)  # noqa: S108 - its scratch
    os.mkdir(folder, 0o700)
    for name, body in files.items():
        fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(fd, "wb") as file:
            file.write(body)  # type: ignore[arg-type]  # `_part` has seen that it is bytes
    os.environ[FOLDER_VARIABLE] = folder


def _part(secrets: Mapping[str, object], name: str, kind: type) -> Mapping[str, object]:
    part = secrets.get(name)
    if not isinstance(part, dict) or not all(
        isinstance(key, str) and isinstance(value, kind) for key, value in part.items()
    ):
        raise ProtocolError(f"load: secrets.{name}: a map to {kind.__name__} is needed")
    return part
