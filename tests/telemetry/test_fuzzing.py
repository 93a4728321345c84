"""Payloads that nobody would think of, from the service's own OpenAPI: no answer is a failure of the server."""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from telemetry.tokens import Kind
from tests.telemetry.conftest import Service

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


def fuzz(service: Service, num_examples: int) -> int:
    """Sends examples to every operation; returns how many requests were answered."""
    device = {"Authorization": f"Bearer {service.token()}"}
    viewer = {"Authorization": f"Bearer {service.token('jo', Kind.LABELLER)}"}
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    num_answers = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.settings(
            max_examples=num_examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],  # a failure is small enough to read as it is
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def send(case: schemathesis.Case) -> None:
            nonlocal num_answers
            response = case.call(headers=device if "/v1/" in case.path else viewer)
            case.validate_response(response, checks=CHECKS)
            num_answers += 1

        send()
    return num_answers


@pytest.mark.e2e
def test_fuzzed_payloads_never_make_a_server_error(sqlite_service: Service) -> None:
    assert fuzz(sqlite_service, num_examples=3) > 6


@pytest.mark.exhaustive
def test_many_fuzzed_payloads_never_make_a_server_error(service: Service) -> None:
    assert fuzz(service, num_examples=100) > 200
