"""The one place that picks a msgpack library, and the two calls everything else uses.

The supervisor has msgpack installed. An executor may run in an interpreter where nothing of ours is
installed; `__main__` then has registered a private copy under the name below, so that the worker's
own `sys.path` stays free of the supervisor's packages.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PRIVATE_NAME = "_workmanager_msgpack"

_library = sys.modules.get(PRIVATE_NAME) or importlib.import_module("msgpack")
_unpackb: Callable[..., object] = _library.unpackb
_packb: Callable[..., bytes] = _library.packb


def pack(value: object) -> bytes:
    """Return *value* as msgpack: text as str, bytes as bin."""
    return _packb(value, use_bin_type=True)


def unpack(body: bytes | bytearray | memoryview) -> object:
    """Return the value in *body*, built of plain types only.

    A timestamp (the one extension type msgpack decodes by itself, before any hook) becomes an
    integer of nanoseconds, so that no foreign object can come out.

    Raises:
        ValueError: Not msgpack, trailing bytes, a map key that is no text, or an extension type.
    """
    return _unpackb(body, raw=False, strict_map_key=True, timestamp=2, ext_hook=_refuse_extension)


def _refuse_extension(code: int, data: bytes) -> object:
    raise ValueError(f"msgpack extension type {code} ({len(data)} bytes) is not allowed")
