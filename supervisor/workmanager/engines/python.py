"""The Python engine: which interpreter runs a worker, and whether it can."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workmanager.engines.driver import Prepared, Workshop
from workmanager.errors import CodeError, Fault, Reason
from workmanager.model.resources import Engine

if TYPE_CHECKING:
    from workmanager.config import Settings
    from workmanager.model.spec import WorkerSpec

MEDIA_TYPE = "text/x-python"

media_type = MEDIA_TYPE


def describe(_settings: Settings) -> Engine:
    """Say what the engine runs here."""
    version = sys.version.split()[0]
    return Engine(
        media_type=MEDIA_TYPE,
        aliases=[],
        available=True,
        detail="forked from the zygote; `python` in a worker names another interpreter",
        runtime_version=f"CPython {version}",
    )


async def prepare(_spec: WorkerSpec, code: bytes, _workshop: Workshop) -> Prepared:
    """Return *code* as it is: Python compiles it where it runs."""
    return Prepared(code)


def interpreter_of(python: str) -> str | None:
    """Return the interpreter that `spec.python` names; None for the service's own.

    Args:
        python: Empty, the path of an interpreter, or the folder of a virtual environment.

    Raises:
        CodeError: There is no executable file.
    """
    if not python:
        return None
    path = Path(python)
    if path.is_dir():
        path = path / "bin" / "python"
    if not path.is_file() or not os.access(path, os.X_OK):
        detail = f"{path} is not an executable file; name an interpreter or a virtual environment"
        raise CodeError(
            f"spec.python: {detail}",
            reason=Reason.ENGINE_UNAVAILABLE,
            faults=[Fault("spec.python", detail)],
        )
    return str(path)
