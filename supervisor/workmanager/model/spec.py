"""The worker specification under one name: import its parts from here."""

from workmanager.model.code import check_digest, digest_of, put_code, take_code
from workmanager.model.manifest import (
    Manifest,
    Metadata,
    dump_manifest,
    parse_manifest,
    patch_manifest,
)
from workmanager.model.patch import merge_patch
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
from workmanager.model.spec_secrets import Secret
from workmanager.model.spec_worker import MAX_CODE_BYTES, Code, WorkerSpec
from workmanager.model.versioning import VERSION_FIELDS, spec_digest

__all__ = [
    "MAX_CODE_BYTES",
    "VERSION_FIELDS",
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
    "Manifest",
    "Metadata",
    "Model",
    "Ordering",
    "Outputs",
    "Probes",
    "RateLimit",
    "Recycle",
    "Resources",
    "Restart",
    "Retry",
    "Secret",
    "Timeouts",
    "Trigger",
    "WorkerSpec",
    "check_digest",
    "digest_of",
    "dump_manifest",
    "merge_patch",
    "parse_manifest",
    "patch_manifest",
    "put_code",
    "spec_digest",
    "take_code",
]
