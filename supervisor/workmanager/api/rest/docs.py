"""The page that shows /openapi.json: one file of ours, no request to anywhere else."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

_TAGS = ("style", "script")


def _hash_of(page: str, tag: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    if found is None:
        raise ValueError(f"docs.html has no <{tag}>")
    digest = hashlib.sha256(found[1].encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


DOCS_PAGE = files(__package__).joinpath("docs.html").read_text("utf-8")
DOCS_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            *(f"{tag}-src {_hash_of(DOCS_PAGE, tag)}" for tag in _TAGS),
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
}
