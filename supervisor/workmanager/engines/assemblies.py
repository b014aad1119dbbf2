"""What the header of a file says: a .NET assembly, native code, or neither.

Source: ECMA-335, II.25.2: a managed image is a PE file whose data directory 14 is the CLI header.
"""

from __future__ import annotations

import struct
from typing import Literal

Kind = Literal["managed", "native", "other"]

_CLI_DIRECTORY = 14
_PE32, _PE32_PLUS = 0x10B, 0x20B
_DIRECTORIES_AT = {_PE32: 96, _PE32_PLUS: 112}  # in the optional header
_COFF_BYTES = 20
_ELF = b"\x7fELF"


def kind_of(image: bytes) -> Kind:
    """Tell what *image* is; "other" if it is cut off before its header says."""
    if image.startswith(_ELF):
        return "native"
    try:
        return _kind_of_pe(image)
    except struct.error:
        return "other"


def _kind_of_pe(image: bytes) -> Kind:
    if image[:2] != b"MZ":
        return "other"
    (at,) = struct.unpack_from("<I", image, 0x3C)
    if image[at : at + 4] != b"PE\0\0":
        return "other"
    optional = at + 4 + _COFF_BYTES
    (magic,) = struct.unpack_from("<H", image, optional)
    if magic not in _DIRECTORIES_AT:
        return "other"
    directories = optional + _DIRECTORIES_AT[magic]
    (count,) = struct.unpack_from("<I", image, directories - 4)
    if count <= _CLI_DIRECTORY:
        return "native"
    (address,) = struct.unpack_from("<I", image, directories + 8 * _CLI_DIRECTORY)
    return "managed" if address else "native"
