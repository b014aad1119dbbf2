"""Exit codes: the one table. Scripts act on them, so a number never changes its meaning."""

from __future__ import annotations

from enum import IntEnum

from workmanager.client.problems import (
    NoSupervisorError,
    ProblemError,
    RequestHeaderError,
)


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    NO_SUPERVISOR = 5
    DIFFERS = 6
    NO_SANDBOX = 78  # EX_CONFIG of sysexits.h; systemd's RestartPreventExitStatus= can name it
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed: tried and did not succeed, or did not end in time",
    ExitCode.USAGE: "usage: the command line or a local file is wrong; nothing was sent",
    ExitCode.NOT_FOUND: "not found: the named worker, task, ... does not exist",
    ExitCode.REFUSED: "refused: the service did not accept the call; nothing was changed",
    ExitCode.NO_SUPERVISOR: "no supervisor: nothing answers at the target",
    ExitCode.DIFFERS: "differs: only `diff`, when an apply would change something",
    ExitCode.NO_SANDBOX: "no sandbox: `serve` and `doctor`, a required layer cannot be had here",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}

# Accepted and tried, without success: not a refusal.
_FAILURES = frozenset({"WORKER_ERROR", "TASK_TIMEOUT", "INTERNAL"})
_NOT_FOUND_STATUS = 404
_SERVER_ERROR_STATUS = 500
_UNAVAILABLE_STATUS = 503


def exit_code_of(error: Exception) -> ExitCode:
    """Return the exit code for an error of the client."""
    if isinstance(error, NoSupervisorError):
        return ExitCode.NO_SUPERVISOR
    if isinstance(error, RequestHeaderError):
        return ExitCode.USAGE
    if not isinstance(error, ProblemError):
        return ExitCode.FAILED
    if error.status == _NOT_FOUND_STATUS:
        return ExitCode.NOT_FOUND
    if error.reason in _FAILURES:
        return ExitCode.FAILED
    if error.status >= _SERVER_ERROR_STATUS and error.status != _UNAVAILABLE_STATUS:
        return ExitCode.FAILED
    return ExitCode.REFUSED
