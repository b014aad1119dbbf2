"""Problem documents: one shape, no traceback, whatever went wrong."""

import json

import pytest
from structlog.testing import capture_logs

from workmanager.api.problems import (
    MAX_FAULTS,
    HttpProblemError,
    Problem,
    problem_document,
    problem_response,
)
from workmanager.errors import (
    AuthenticationError,
    Fault,
    InboxFullError,
    ManifestError,
    Reason,
    WorkManagerError,
)


def body_of(exc: Exception) -> dict:
    response = problem_response(exc, instance="/v1/x")
    assert response.media_type == "application/problem+json"
    return Problem.model_validate(json.loads(response.body)).model_dump(by_alias=True)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_status_and_code(reason):
    body = body_of(WorkManagerError("x", reason=reason))
    assert body["type"] == f"urn:workmanager:problem:{reason.name}"
    assert (body["status"], body["code"]) == (reason.status, reason.grpc_code)
    assert body["reason"] == reason.name


def test_faults_and_facts_are_listed():
    error = ManifestError("bad", faults=[Fault("spec.x", "is odd")], metadata={"a": "b"})
    body = body_of(error)
    assert body["errors"] == [{"pointer": "spec.x", "detail": "is odd"}]
    assert body["metadata"] == {"a": "b"}
    assert body["instance"] == "/v1/x"


def test_many_faults_are_cut_and_counted():
    document = problem_document(
        ManifestError("bad", faults=[Fault(str(i), "x") for i in range(MAX_FAULTS + 5)])
    )
    assert len(document["errors"]) == MAX_FAULTS + 1
    assert document["errors"][-1] == {"pointer": "", "detail": "and 5 more"}


def test_retry_after_is_said_in_seconds_and_milliseconds():
    response = problem_response(InboxFullError("full", retry_after_s=0.25))
    assert response.headers["Retry-After"] == "1"
    assert json.loads(response.body)["retryAfterMs"] == 250


def test_missing_credentials_name_the_scheme():
    assert (
        problem_response(AuthenticationError("x")).headers["WWW-Authenticate"].startswith("Bearer")
    )


def test_a_finer_status_wins():
    error = HttpProblemError("x", reason=Reason.ENGINE_NOT_FOUND, status=415)
    assert problem_response(error).status_code == 415
    assert body_of(error)["status"] == 415


def test_the_unexpected_is_logged_under_an_id_and_told_without_its_words():
    with capture_logs() as logs:
        body = body_of(ZeroDivisionError("secret words"))
    assert body["reason"] == "INTERNAL"
    assert "secret" not in json.dumps(body)
    assert logs[0]["occurrence"] == body["instance"]
    assert body["instance"].startswith("urn:uuid:")


def test_a_group_of_refusals_is_a_refusal_and_any_other_group_is_not():
    refusal = WorkManagerError("x", reason=Reason.NOT_FOUND)
    assert body_of(ExceptionGroup("g", [refusal]))["reason"] == "NOT_FOUND"
    with capture_logs():
        assert body_of(ExceptionGroup("g", [refusal, ValueError()]))["reason"] == "INTERNAL"


def test_text_that_is_no_utf8_can_be_quoted():
    assert "\udcff" in body_of(WorkManagerError("x\udcff", reason=Reason.NOT_FOUND))["detail"]
