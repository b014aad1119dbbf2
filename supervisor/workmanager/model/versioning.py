"""What makes a version of a worker: everything that is fixed in an executor when it starts.

A change to any of these needs new executors, hence a new version and a hot swap; a change to
anything else (triggers, retry intervals, rate limits, drain, ...) takes effect in running ones.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from workmanager.model.spec_worker import WorkerSpec

VERSION_FIELDS: Final = {
    "engine": "decides which program runs the code",
    "handler": "is looked up when the code is loaded",
    "python": "is the interpreter",
    "code.digest": "is the code",
    "env": "is the process's environment",
    "secrets": "are handed over when the code is loaded",
    "resources": "become limits of the process",
    "isolation": "is the sandbox, which a process can only tighten",
    "group.name": "is told to the handler as context.group",
    "batch.size": "decides between event and batch handlers when the code is loaded",
    "concurrency.perExecutor": "decides whether an event loop is started, and its width",
    "timeouts.startToClose": "is told to the handler as context.deadline",
    "retry.maximumAttempts": "is told to the handler as context.max_attempts",
    "outputs.maxPerTask": "is enforced inside the executor",
}
"""Wire path of each field that is fixed in an executor, and why. Order does not matter."""

LIVE_FIELDS: Final = frozenset({"resources.cpuWeight", "resources.ioWeight"})
"""Fields below those that can be changed while an executor runs."""

_FORMAT: Final = "workmanager version 1"  # part of the hash: another rule gives other digests


def spec_digest(spec: WorkerSpec) -> str:
    """Return `sha256:<hex>` over all of `VERSION_FIELDS`: the identity of a version.

    Raises:
        ValueError: The code is not resolved yet (`code.digest` is empty).
    """
    if not spec.code.digest:
        raise ValueError("the code has no digest yet; take or fetch it first")
    wire = spec.model_dump(mode="json", by_alias=True)
    for path in LIVE_FIELDS:
        part, _, name = path.rpartition(".")
        del wire[part][name]
    facts = {path: _at(wire, path) for path in VERSION_FIELDS}
    text = json.dumps([_FORMAT, facts], sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _at(wire: object, path: str) -> object:
    """Return the value at a dotted path; None where a part of the way is absent (no group)."""
    for key in path.split("."):
        wire = wire.get(key) if isinstance(wire, Mapping) else None
    return wire
