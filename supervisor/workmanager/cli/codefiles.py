"""Code in local files, on its way into a manifest. No pathlib: it takes 9 ms to import."""

from __future__ import annotations

import base64

import click

ENGINES = {".py": "text/x-python", ".cs": "text/x-csharp", ".dll": "text/x-dll"}


def engine_of(path: str) -> str:
    """Return the media type that the suffix of *path* stands for; empty where it says nothing."""
    return next((engine for suffix, engine in ENGINES.items() if path.endswith(suffix)), "")


def read_code(path: str) -> bytes:
    """Return the bytes of the file at *path*; `-` is standard input.

    Raises:
        OSError: It cannot be read.
    """
    with click.open_file(path, "rb") as file:
        content: bytes = file.read()
        return content


def code_of(path: str) -> dict[str, str]:
    """Return the `code` of a manifest for the file at *path*; errors as in `read_code`."""
    return {"content": base64.b64encode(read_code(path)).decode()}
