"""Rights and keys: what grants allow, and how a key is made and known again. Pure.

    key = "wmk_" + id (12 hexadecimal digits) + "_" + secret (256 bits, base64url)

The secret is random and long, so a salted SHA-256 keeps it as well as a slow hash would: nobody can
try 2**256. A slow one would cost every call tens of milliseconds.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from workmanager.model.access import EVERY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workmanager.model.access import Grant, Right

ID_BYTES = 6
SECRET_BYTES = 32
SALT_BYTES = 16
RANDOM_BYTES = ID_BYTES + SECRET_BYTES + SALT_BYTES

_KEY = re.compile(r"wmk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """A new key: its whole text, and what is kept of it."""

    id: str
    text: str
    salt: bytes
    digest: bytes


def make_key(random: bytes) -> Key:
    """Make a key of `RANDOM_BYTES` random bytes."""
    id_part, rest = random[:ID_BYTES].hex(), random[ID_BYTES:]
    secret, salt = rest[:SECRET_BYTES], rest[SECRET_BYTES:]
    text = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    return Key(id_part, f"wmk_{id_part}_{text}", salt, _digest(text, salt))


def split_key(text: str) -> tuple[str, str] | None:
    """Return the id and the secret of a key; None if *text* is none."""
    match = _KEY.fullmatch(text)
    return (match[1], match[2]) if match else None


def is_secret(secret: str, salt: bytes, digest: bytes) -> bool:
    """Tell whether *secret* is the one that *digest* was made of, in a time that tells nothing."""
    return hmac.compare_digest(_digest(secret, salt), digest)


def allows(grants: Iterable[Grant], right: Right, worker: str) -> bool:
    """Tell whether *grants* give *right* on *worker*; `*` asks for all workers."""
    return any(right in grant.rights and _matches(grant.workers, worker) for grant in grants)


def allows_anything(grants: Iterable[Grant], right: Right) -> bool:
    """Tell whether *grants* give *right* on any worker at all."""
    return any(right in grant.rights for grant in grants)


def allows_secret(grants: Iterable[Grant], worker: str, secret: str) -> bool:
    """Tell whether *worker* may be given *secret* by somebody with these *grants*."""
    return any(
        _matches(grant.workers, worker) and _matches(grant.secrets, secret) for grant in grants
    )


def _matches(patterns: Iterable[str], name: str) -> bool:
    if name == EVERY:
        return EVERY in patterns
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _digest(secret: str, salt: bytes) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()
