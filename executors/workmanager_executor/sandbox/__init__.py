"""The sandbox of an executor: four levels, every layer reported, nothing skipped silently.

    prepared = prepare(profile)        in the zygote, before it forks
    fd = separate(prepared)            in the intermediate process, before it forks
    records = settle(prepared, fd)     in the executor, before a byte of user code is read

`enter(profile)` does all three for a caller without an intermediate, `seal()` ends the set-up of a
foreign interpreter. Standard library only: what builds the cage must be small enough to be read.
"""

from __future__ import annotations

from .chain import enter, seal, separate, settle
from .errors import SandboxError
from .prepared import Prepared, prepare
from .profile import LEVELS
from .records import LAYERS, Record

__all__ = [
    "LAYERS",
    "LEVELS",
    "Prepared",
    "Record",
    "SandboxError",
    "enter",
    "prepare",
    "seal",
    "separate",
    "settle",
]
