"""Strangers' input, made from the served description: refused as described, never with a 5xx.

Deterministic (derandomized) and bounded in number; a finding is repeated by running the test again.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

pytestmark = [pytest.mark.system, pytest.mark.slow]

EXAMPLES = 6  # per call and mode: about 650 requests
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    negative_data_rejection,
]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_api_is_as_it_describes_itself(rest, mode):
    worker = rest.create()
    schema = schemathesis.openapi.from_dict(rest.call("GET", "/openapi.json"))
    for operation in schema.get_all_operations():
        _try(rest, operation.ok(), mode, worker)
    assert rest.call("GET", "/v1/health")["status"] in ("ok", "degraded")


def _try(rest, operation, mode, worker):
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def run(case):
        if (case.query and case.query.get("follow")) or case.path.endswith(":watch"):
            return  # a stream has no end to be judged by
        if mode is GenerationMode.POSITIVE and "worker" in (case.path_parameters or {}):
            case.path_parameters["worker"] = worker  # beyond the 404
        headers = {"Authorization": f"Bearer {rest.token}"}
        case.call_and_validate(base_url=rest.url, headers=headers, checks=CHECKS, timeout=20)

    run()
