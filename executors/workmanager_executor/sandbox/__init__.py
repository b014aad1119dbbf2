"""The sandbox of an executor: four levels, every layer reported, nothing skipped silently.

    prepared = prepare(profile)        in the zygote, before it forks
    fd = separate(prepared)            in the intermediate process, before it forks
    records = settle(prepared, fd)     in the executor, before a byte of user code is read

`seal()` ends the set-up of a foreign interpreter; `python -I -S <this folder>/__main__.py` prints
as JSON what the host can give. Standard library only: what builds the cage must be small enough to
be read.
"""

from __future__ import annotations

from .chain import seal, separate, settle
from .errors import SandboxError
from .namespaces import map_two_ids
from .prepared import Prepared, prepare
from .profile import LEVELS
from .records import LAYERS, Record
from .signals import end_on_signals

__all__ = [
    "LAYERS",
    "LEVELS",
    "Prepared",
    "Record",
    "SandboxError",
    "end_on_signals",
    "map_two_ids",
    "prepare",
    "seal",
    "separate",
    "settle",
]
