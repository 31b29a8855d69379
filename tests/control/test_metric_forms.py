"""Names and labels that gateways before this one had, each by configuration alone.

The tables are configurations as an operator writes them: what stands here can be taken over by anybody.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.resolve import ResolvedConfig
from headgate.control.exposition import facts_of
from headgate.telemetry.cells import Sample, SeriesName, SlotRegion, SlotWriter, read
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.naming import Naming, Shown
from headgate.telemetry.prometheus import points, render, render_openmetrics

GATEWAY = """
limits: [{name: per-caller, key: address, requests: 100, window: 1m}]
services:
- name: llm
  url: http://127.0.0.1:9001
  circuit_breaker: {threshold: 5}
  routes: [{name: generate, match: {path: {template: "/api/v1/llm/{path}"}}}]
"""

HTTP_ENDPOINT = """
headgate_requests_total:
- {name: http_requests_total, labels: {method: method, endpoint: pattern, status: status}}
- name: http_request_errors_total
  labels: {method: method, endpoint: pattern, status: status}
  only: {class: [4xx, 5xx]}
- name: gateway_proxy_requests_total
  labels: {service: service, method: method, status: reason}
  values: {status: {"": success, breaker_open: circuit_open, "*": error}}
  only: {service: [llm]}
headgate_request_duration_seconds:
- {name: http_request_duration_seconds, labels: {method: method, endpoint: pattern}}
- {name: gateway_proxy_request_duration_seconds, labels: {service: service, method: method}}
headgate_retries_total: {name: gateway_proxy_retries_total, labels: {service: service}}
headgate_breaker_state: {name: circuit_breaker_state, labels: {service: service, state: state}}
headgate_breaker_transitions_total:
  name: gateway_circuit_breaker_state_changes
  labels: {service: service, state: to}
headgate_limit_refused_total: {name: rate_limit_exceeded_total, labels: {identifier: key, service: service}}
headgate_service_up: {name: service_up, labels: {service_name: service}}
"""

HTTP_PATH = """
headgate_requests_total: {name: http_requests_total, labels: {method: method, path: pattern, status: status}}
headgate_request_duration_seconds:
  name: http_request_duration_seconds
  labels: {method: method, path: pattern, status: status}
headgate_limit_refused_total: {name: rate_limit_hits_total, labels: {key: key, algorithm: algorithm}}
headgate_auth_failures_total:
  name: auth_failures_total
  labels: {reason: reason, auth_type: auth_type}
  values: {reason: {missing_credentials: missing_token}}
headgate_upstream_requests_total: {name: upstream_requests_total, labels: {upstream: service, status: status}}
headgate_upstream_duration_seconds:
  name: upstream_request_duration_seconds
  labels: {upstream: service, status: status}
"""

API_GATEWAY = """
headgate_requests_total:
  name: api_gateway_requests_total
  labels: {method: method, endpoint: pattern, status_code: status}
headgate_request_duration_seconds:
  name: api_gateway_request_duration_seconds
  labels: {method: method, endpoint: pattern}
headgate_requests_in_flight: api_gateway_active_requests
headgate_upstream_requests_total:
  name: api_gateway_service_requests_total
  labels: {service: service, method: method, status_code: status}
headgate_upstream_duration_seconds: api_gateway_service_request_duration_seconds
headgate_breaker_state: api_gateway_circuit_breaker_state
headgate_limit_refused_total: {name: api_gateway_rate_limit_hits_total, labels: {client_type: caller}}
"""

REQUEST_DURATION = """
headgate_request_duration_seconds:
  name: request_duration_seconds
  labels: {method: method, path: pattern, status_code: status}
"""

BREAKER_BY_SERVICE = "headgate_breaker_state: {name: circuit_breaker_state, labels: {service: service}}"
EXCEEDED = "headgate_limit_refused_total: {name: rate_limit_exceeded_total, labels: {identifier: limit}}"

EXPECTED = {
    HTTP_ENDPOINT: {
        'http_requests_total{method="GET",endpoint="/api/v1/llm/{path}",status="200"} 2',
        'http_requests_total{method="GET",endpoint="",status="404"} 1',
        'http_request_errors_total{method="POST",endpoint="/api/v1/llm/{path}",status="503"} 1',
        'http_request_errors_total{method="GET",endpoint="",status="404"} 1',
        'http_request_duration_seconds_count{method="GET",endpoint="/api/v1/llm/{path}"} 2',
        'circuit_breaker_state{service="llm",state="open"} 1',
        'circuit_breaker_state{service="llm",state="closed"} 0',
        'rate_limit_exceeded_total{identifier="address",service="llm"} 2',
        'service_up{service_name="llm"} 1',
        'gateway_proxy_requests_total{service="llm",method="GET",status="success"} 2',
        'gateway_proxy_requests_total{service="llm",method="POST",status="circuit_open"} 1',
        'gateway_proxy_request_duration_seconds_count{service="llm",method="POST"} 1',
        'gateway_proxy_retries_total{service="llm"} 1',
        'gateway_circuit_breaker_state_changes{service="llm",state="open"} 1',
    },
    HTTP_PATH: {
        'http_requests_total{method="POST",path="/api/v1/llm/{path}",status="503"} 1',
        'http_request_duration_seconds_count{method="GET",path="/api/v1/llm/{path}",status="200"} 2',
        'rate_limit_hits_total{key="address",algorithm="sliding_window"} 2',
        'auth_failures_total{reason="missing_token",auth_type="none"} 1',
        'auth_failures_total{reason="invalid_token",auth_type="jwt"} 1',
        'upstream_requests_total{upstream="llm",status="200"} 2',
        'upstream_requests_total{upstream="llm",status="error"} 1',
        'upstream_request_duration_seconds_count{upstream="llm",status="200"} 2',
    },
    API_GATEWAY: {
        'api_gateway_requests_total{method="GET",endpoint="/api/v1/llm/{path}",status_code="200"} 2',
        'api_gateway_request_duration_seconds_count{method="GET",endpoint="/api/v1/llm/{path}"} 2',
        "api_gateway_active_requests 1",
        'api_gateway_service_requests_total{service="llm",method="GET",status_code="200"} 2',
        'api_gateway_service_request_duration_seconds_count{service="llm"} 2',
        'api_gateway_circuit_breaker_state{service="llm"} 1',
        'api_gateway_rate_limit_hits_total{client_type="user"} 1',
        'api_gateway_rate_limit_hits_total{client_type="anonymous"} 1',
    },
    REQUEST_DURATION: {
        'request_duration_seconds_count{method="GET",path="/api/v1/llm/{path}",status_code="200"} 2',
    },
    BREAKER_BY_SERVICE: {'circuit_breaker_state{service="llm"} 1'},
    EXCEEDED: {'rate_limit_exceeded_total{identifier="per-caller"} 2'},
}


def configured(names: str) -> ResolvedConfig:
    document: dict[str, Any] = {**yaml.safe_load(GATEWAY), "telemetry": {"metrics": {"names": yaml.safe_load(names)}}}
    result = load([], environ={}, layers=[Layer("gw.yaml", yaml.safe_dump(document, sort_keys=False))])
    assert result.config is not None, result.problems
    return result.config


def counted(config: ResolvedConfig) -> list[Sample]:
    """Count what four requests and what came of them would count."""
    region = SlotRegion.create(1 << 18, 1 << 15)
    metrics = Metrics(SlotWriter(region), "1")
    metrics.follow(config.telemetry.metrics)
    series, unrouted, upstream = metrics.requests("generate", "llm"), metrics.requests("", ""), metrics.upstream("llm")
    for _ in range(5):
        metrics.begin()
    for _ in range(2):
        series.finish("GET", 200, 0.02, 0, 10)
        upstream.answered(200, 0.01, "GET")
    series.finish("POST", 503, 0.001, 0, 10, "breaker_open")
    unrouted.finish("GET", 404, 0.001, 0, 10, "route_not_found")
    upstream.failed("connect_refused", "POST")
    upstream.retried("connect_refused")
    metrics.auth_failed("missing_credentials")
    metrics.auth_failed("invalid_token", "jwt")
    for caller in ("user", "anonymous"):
        metrics.limit_refused("per-caller", caller, "generate", "llm", "GET")
    metrics.cells[metrics.counter("headgate_breaker_transitions_total", "llm", "open")] += 1
    return [
        *read([region]),
        Sample(SeriesName("headgate_breaker_state", "gauge", ("llm",)), [1]),
        Sample(SeriesName("headgate_service_up", "gauge", ("llm",)), [1]),
    ]


def shown(names: str) -> list[Shown]:
    config = configured(names)
    return Naming(config.telemetry.metrics, facts_of(config)).show(counted(config))


@pytest.mark.parametrize(
    "names", EXPECTED, ids=["http-endpoint", "http-path", "api", "duration", "breaker", "exceeded"]
)
def test_names_and_labels_are_to_the_letter(names: str) -> None:
    assert EXPECTED[names] - set(render(shown(names)).decode().splitlines()) == set()


@pytest.mark.parametrize("names", EXPECTED)
def test_openmetrics_says_the_same(names: str) -> None:
    floats = re.sub(r'le="(\d+)"', r'le="\1.0"', render(shown(names)).decode())
    expected = {line for line in floats.splitlines() if not line.startswith("#")}
    told = render_openmetrics(shown(names)).decode().splitlines()
    assert {line for line in told if not line.startswith("#")} == expected
    assert told[-1] == "# EOF"


def test_the_list_for_json_has_the_same_names() -> None:
    found = [each for each in points(shown(REQUEST_DURATION), 5.0) if each["name"] == "request_duration_seconds_count"]
    assert {"method": "GET", "path": "/api/v1/llm/{path}", "status_code": "200"} in [each["labels"] for each in found]


@pytest.mark.parametrize("names", EXPECTED)
def test_no_label_is_shown_that_was_not_asked_for(names: str) -> None:
    asked = yaml.safe_load(names)
    for each in shown(names):
        if not each.name.startswith("headgate_"):
            forms = asked[each.family.name]
            form = next(f for f in (forms if isinstance(forms, list) else [forms]) if _name(f) == each.name)
            wanted = form.get("labels") if isinstance(form, dict) else None
            assert each.labels == (tuple(wanted) if wanted is not None else each.family.shown)


def _name(form: dict[str, Any] | str) -> str:
    return form if isinstance(form, str) else str(form["name"])
