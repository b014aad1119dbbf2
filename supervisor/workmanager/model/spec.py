"""The worker specification under one name: import its parts from here."""

from workmanager.model.spec_base import Model
from workmanager.model.spec_delivery import (
    Batch,
    Concurrency,
    DeadLetter,
    Dedupe,
    Group,
    Inbox,
    Ordering,
    Outputs,
    RateLimit,
    Retry,
    Timeouts,
    Trigger,
)
from workmanager.model.spec_filters import Filter
from workmanager.model.spec_process import (
    Drain,
    Isolation,
    Liveness,
    Probes,
    Recycle,
    Resources,
    Restart,
)
from workmanager.model.spec_worker import MAX_CODE_BYTES, Code, WorkerSpec

__all__ = [
    "MAX_CODE_BYTES",
    "Batch",
    "Code",
    "Concurrency",
    "DeadLetter",
    "Dedupe",
    "Drain",
    "Filter",
    "Group",
    "Inbox",
    "Isolation",
    "Liveness",
    "Model",
    "Ordering",
    "Outputs",
    "Probes",
    "RateLimit",
    "Recycle",
    "Resources",
    "Restart",
    "Retry",
    "Timeouts",
    "Trigger",
    "WorkerSpec",
]
