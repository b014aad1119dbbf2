"""What a failed command says: the reason, every fault with its path, and what to try next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.cli.text import sanitize
from workmanager.client.problems import NoSupervisorError, ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Reason -> the next command; {worker} and such are taken from the problem's metadata.
NEXT_STEPS = {
    "WORKER_NOT_FOUND": "workmanager worker list",
    "VERSION_NOT_FOUND": "workmanager version list {worker}",
    "TASK_NOT_FOUND": "workmanager task list",
    "DEAD_LETTER_NOT_FOUND": "workmanager dead-letter list",
    "GROUP_NOT_FOUND": "workmanager group list",
    "OPERATION_NOT_FOUND": "workmanager operation list",
    "WORKER_EXISTS": "workmanager worker apply -f FILE   (changes one that exists)",
    "INVALID_STATE": "workmanager worker explain {worker}",
    "ETAG_MISMATCH": "workmanager worker get {worker} -o yaml   (it was changed since you read it)",
    "ENGINE_NOT_FOUND": "workmanager engine list",
    "ENGINE_UNAVAILABLE": "workmanager engine list",
    "UNAUTHENTICATED": "workmanager --token-file FILE ...   (the service's state folder has one)",
    "LEASE_LOST": "workmanager group list   (shows the token that holds it now)",
    "INBOX_FULL": "workmanager worker explain {worker}   (or wait, then publish again)",
    "STORE_UNAVAILABLE": "workmanager health   (the state folder's disk may be full)",
    "WORKER_ERROR": "workmanager worker logs {worker} --tail 20",
    "TASK_TIMEOUT": "workmanager task list --worker {worker}",
    "INTERNAL": "workmanager health   (and the service's log has the traceback)",
}
NO_SUPERVISOR_STEP = "workmanager serve --dev   (or --target, where it runs elsewhere)"


def describe(error: Exception) -> Iterator[str]:
    """Yield the lines that tell a user about *error*."""
    yield sanitize(f"error: {error}")
    if isinstance(error, ProblemError):
        for fault in error.faults:
            yield sanitize(f"  - {fault.pointer or '(whole)'}: {fault.detail}")
        if error.metadata.get("traceback"):
            yield from (
                f"  | {sanitize(line)}" for line in error.metadata["traceback"].splitlines()
            )
        if error.retry_after_s is not None:
            yield f"again in: {error.retry_after_s:g} s"
    step = next_step(error)
    if step:
        yield f"try: {step}"


def next_step(error: Exception) -> str:
    """Return the command to try after *error*; empty where none would help."""
    if isinstance(error, NoSupervisorError):
        return NO_SUPERVISOR_STEP
    if not isinstance(error, ProblemError):
        return ""
    step = NEXT_STEPS.get(error.reason, "")
    return step.replace("{worker}", sanitize(error.metadata.get("worker", "NAME")))
