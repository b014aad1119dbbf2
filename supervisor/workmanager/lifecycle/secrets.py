"""The secrets that a worker names, read from the credential folder when an executor starts.

Their values go to the executor over its channel and to nobody else: they are in no listing, log,
version or bundle. Lines that the worker writes have them masked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workmanager.errors import CodeError

if TYPE_CHECKING:
    from pathlib import Path

    from workmanager.config import Settings
    from workmanager.model.spec import WorkerSpec

MAX_BYTES = 64 * 1024  # of one secret: keys and certificates, not data
FOR_OTHERS = 0o007
MASKED_CHARS = 6  # shorter ones would mask half of what a worker writes


class SecretError(CodeError):
    """A secret is not there or not fit; the message names it and what to do, never its value."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What an executor is given: variables, files, and the texts to mask in its lines."""

    env: dict[str, str] = field(default_factory=dict, repr=False)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)

    def frame(self) -> dict[str, Any] | None:
        """Return their part of the LOAD frame; None for none."""
        return {"env": self.env, "files": self.files} if self.env or self.files else None

    def masks(self) -> tuple[str, ...]:
        """Return the texts that must not be shown, the longest first."""
        texts = {*self.env.values(), *(b.decode("utf-8", "replace") for b in self.files.values())}
        lines = {line.strip() for text in texts for line in text.splitlines()}
        return tuple(sorted((s for s in lines if len(s) >= MASKED_CHARS), key=len, reverse=True))


NONE = Secrets()


def read_secrets(spec: WorkerSpec, settings: Settings) -> Secrets:
    """Read what *spec* names.

    Raises:
        SecretError: One of them is not there, too large, open to others, or no text for a variable.
    """
    if not spec.secrets:
        return NONE
    found = Secrets()
    for secret in spec.secrets:
        body = _read(secret.name, settings.secret_path(secret.name))
        if secret.as_ == "file":
            found.files[secret.name] = body
        else:
            found.env[secret.variable_name] = _text(secret.name, body)
    return found


def _read(name: str, path: Path | None) -> bytes:
    if path is None:
        raise SecretError(
            f"secret {name!r}: this service has no credential folder; set secrets_dir"
        )
    try:
        with path.open("rb") as file:
            body = file.read(MAX_BYTES + 1)
        mode = path.stat().st_mode
    except OSError as error:
        raise SecretError(f"secret {name!r}: {error.strerror} in the credential folder") from error
    if len(body) > MAX_BYTES:
        raise SecretError(f"secret {name!r} has more than {MAX_BYTES} bytes")
    if mode & FOR_OTHERS:
        raise SecretError(f"secret {name!r} is open to others; run chmod o= on its file")
    return body


def _text(name: str, body: bytes) -> str:
    try:
        text = body.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise SecretError(f"secret {name!r} is no text; take it as a file") from error
    if "\0" in text:
        raise SecretError(f"secret {name!r} holds a NUL character; take it as a file")
    return text
