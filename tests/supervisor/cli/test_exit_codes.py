"""What an error says and which code it ends with."""

import click
import pytest
from click.testing import CliRunner

from workmanager.cli.command import RootGroup
from workmanager.cli.exit_codes import ExitCode, exit_code_of
from workmanager.cli.failures import NEXT_STEPS
from workmanager.client import (
    ClientTimeoutError,
    ConnectionLostError,
    NoSupervisorError,
    ProblemError,
    RequestHeaderError,
)
from workmanager.errors import Fault, Reason


def run(error):
    @click.group(cls=RootGroup)
    def top():
        pass

    @top.command()
    def act():
        raise error

    return CliRunner().invoke(top, ["act"])


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.WORKER_NOT_FOUND, ExitCode.NOT_FOUND),
        (Reason.OPERATION_NOT_FOUND, ExitCode.NOT_FOUND),
        (Reason.INVALID_ARGUMENT, ExitCode.REFUSED),
        (Reason.WORKER_EXISTS, ExitCode.REFUSED),
        (Reason.ETAG_MISMATCH, ExitCode.REFUSED),
        (Reason.BUILD_FAILED, ExitCode.REFUSED),
        (Reason.INBOX_FULL, ExitCode.REFUSED),
        (Reason.UNAUTHENTICATED, ExitCode.REFUSED),
        (Reason.STORE_UNAVAILABLE, ExitCode.REFUSED),
        (Reason.WORKER_ERROR, ExitCode.FAILED),
        (Reason.TASK_TIMEOUT, ExitCode.FAILED),
        (Reason.INTERNAL, ExitCode.FAILED),
    ],
)
def test_reasons_have_their_exit_code(reason, code):
    assert exit_code_of(ProblemError(reason.name, reason.status, "x")) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoSupervisorError("/x.sock", "none"), 5),
        (ConnectionLostError("/x.sock", "reset"), 1),
        (ClientTimeoutError("/x.sock", 30), 1),
        (RequestHeaderError("x"), 2),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.UsageError("x"), 2),
    ],
)
def test_errors_end_the_command_with_their_code(error, code):
    assert run(error).exit_code == code


def test_refusal_says_reason_detail_every_fault_and_the_next_step():
    faults = (Fault("spec.triggers[0].topic", "is required"), Fault("spec.retry", "unknown"))
    problem = ProblemError("INVALID_STATE", 409, "orders is DELETING", faults=faults)
    problem.metadata["worker"] = "orders"
    problem.retry_after_s = 1.5
    result = run(problem)
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error: INVALID_STATE: orders is DELETING",
        "  - spec.triggers[0].topic: is required",
        "  - spec.retry: unknown",
        "again in: 1.5 s",
        "try: workmanager worker explain orders",
    ]


def test_text_from_the_service_cannot_drive_the_terminal():
    result = run(
        ProblemError("WORKER_ERROR", 422, "\x1b]0;owned\x07", metadata={"worker": "\x1b[2J"})
    )
    assert "\x1b" not in result.stderr
    assert "\\x1b]0;owned" in result.stderr


def test_next_steps_are_for_reasons_that_exist():
    assert set(NEXT_STEPS) <= set(Reason.__members__)
