"""Refusals as rich statuses: complete where there is room, cut where there is none."""

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from workmanager.api.grpc import status
from workmanager.errors import (
    Fault,
    InvalidArgumentError,
    NotFoundError,
    Reason,
    WorkerFailedError,
    WorkManagerError,
)

TRAILERS_BYTES = 8192  # what clients take by default


def details(error):
    found = status.status_of(error)
    unpacked = {}
    for packed in found.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                unpacked[kind.__name__] = kind.FromString(packed.value)
    return found, unpacked


def test_reason_and_facts_are_told():
    error = NotFoundError("no w", reason=Reason.WORKER_NOT_FOUND, metadata={"worker": "w"})
    found, parts = details(error)
    assert (found.code, found.message) == (grpc.StatusCode.NOT_FOUND.value[0], "no w")
    info = parts["ErrorInfo"]
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "WORKER_NOT_FOUND",
        "workmanager",
        {"worker": "w"},
    )
    assert parts.keys() == {"ErrorInfo"}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_code(reason):
    error = WorkManagerError("x", reason=reason)
    assert status.code_of(error).name == reason.grpc_code


def test_faults_are_violations_of_fields():
    faults = [Fault("spec.retry", "is odd"), Fault("", "is empty")]
    _, parts = details(InvalidArgumentError("wrong", faults=faults))
    told = [(v.field, v.description) for v in parts["BadRequest"].field_violations]
    assert told == [("spec.retry", "is odd"), ("", "is empty")]


def test_when_to_come_back_is_told():
    _, parts = details(WorkManagerError("full", reason=Reason.INBOX_FULL, retry_after_s=1.5))
    assert parts["RetryInfo"].retry_delay.ToMilliseconds() == 1500


def test_a_long_traceback_keeps_its_end_and_the_trailers_fit():
    traceback = "".join(f"line {number}\n" for number in range(5000)) + "ValueError: here"
    facts = {"traceback": traceback, "errorType": "E" * 5000, "more": "é" * 5000}
    error = WorkerFailedError("ValueError: " + "ü" * 5000, metadata=facts)
    _, parts = details(error)
    assert parts["ErrorInfo"].metadata["traceback"].endswith("ValueError: here")
    assert trailer_bytes(error) < TRAILERS_BYTES


def test_many_faults_are_cut_and_counted():
    faults = [Fault(f"spec.field{number}", "x" * 100) for number in range(1000)]
    error = InvalidArgumentError("wrong", faults=faults)
    _, parts = details(error)
    violations = parts["BadRequest"].field_violations
    assert violations[0].field == "spec.field0"
    assert violations[-1].description == f"and {1000 - len(violations) + 1} more"
    assert trailer_bytes(error) < TRAILERS_BYTES


def test_faults_and_facts_of_the_worst_kind_still_fit():
    error = InvalidArgumentError(
        "\N{PILE OF POO}" * 5000,
        metadata={str(number): "é" * 4000 for number in range(50)},
        faults=[Fault("é" * 5000, "\N{PILE OF POO}" * 5000)] * 500,
        retry_after_s=3,
    )
    _, parts = details(error)
    assert parts.keys() == {"ErrorInfo", "BadRequest", "RetryInfo"}
    assert trailer_bytes(error) < TRAILERS_BYTES


def trailer_bytes(error):
    """What the trailers weigh: base64, percent-encoding, 32 bytes for each header."""
    ((_, raw),) = status.trailers_of(error)
    return len(raw) * 4 / 3 + len(status.message_of(error).encode()) * 3 + 3 * 32 + 100


def test_text_that_is_no_unicode_does_not_break_a_refusal():
    assert status.message_of(WorkManagerError("bad \udc80")) == "bad ?"
