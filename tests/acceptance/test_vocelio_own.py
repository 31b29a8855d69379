"""The preset `vocelio`: what the gateway says of itself and its services, what it writes, what browsers are told."""

from __future__ import annotations

import gzip
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from headgate.client import Client
from headgate.control.surface.answers import compiled
from tests.acceptance.gateway import TOKEN, Answer
from tests.acceptance.stub import Wanted
from tests.acceptance.vocelio import SECRET, SERVICES, Running, resolved, running, token
from tests.control.driver import CEILING, until

# Checks that a test can wait for; of one service alone, for they cost time.
QUICK = {"name": "billing", "health": {"interval": 0.2, "unhealthy_threshold": 2}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    env = {"LOG_LEVEL": "DEBUG", "OPENAI_API_KEY": "sk-canary-of-openai"}
    own = {
        "services": [
            QUICK,
            {
                "name": "voice-lab",
                "routes": [
                    {
                        "name": "speech",
                        "match": {"path": "/api/v1/voice-lab/speech"},
                        "headers": {"request": {"set": {"X-Upstream-Key": "${OPENAI_API_KEY}"}}},
                    }
                ],
            },
        ]
    }
    with running(tmp_path_factory.mktemp("vocelio"), own, env=env) as found:
        yield found


@pytest.fixture
def run(whole: Running) -> Running:
    whole.forget()
    until(lambda: whole.gateway.shown("/health")["services"]["summary"]["healthy_instances"] == 18, "all are well")
    return whole


def test_what_the_gateway_is(run: Running) -> None:
    """S1-28: GET /"""
    said = run.gateway.shown("/")
    assert (said["service"], said["docs"], said["environment"]) == ("Vocelio API Gateway", "/docs", "development")
    assert said["status"] == "running"
    assert said["version"]


def test_health_has_the_form_of_the_description(run: Running) -> None:
    """S1-30"""
    said: Any = until(
        lambda: (
            (found := run.gateway.shown("/health"))["gateway"]["checks"]["memory"]["usage_percent"] is not None
            and found
        ),
        "the machine was looked at",
    )
    assert list(said) == ["status", "timestamp", "gateway", "services"]
    assert said["status"] in ("healthy", "degraded", "unhealthy")
    assert isinstance(said["timestamp"], float)
    assert list(said["gateway"]) == ["status", "uptime", "checks"]
    assert isinstance(said["gateway"]["uptime"]["seconds"], int)
    assert re.fullmatch(r"(\d+ days?, )?\d+:\d\d:\d\d", said["gateway"]["uptime"]["human_readable"])
    checks = said["gateway"]["checks"]
    assert set(checks) == {"memory", "cpu", "disk", "network"}
    for name in ("memory", "cpu", "disk"):
        assert set(checks[name]) == {"status", "usage_percent"}
    assert set(checks["network"]) == {"status", "response_time_ms"}
    assert said["services"] == {
        "summary": {"total_services": 18, "healthy_instances": 18, "overall_health": 100.0},
    }


def test_when_the_gateway_is_degraded_and_unhealthy() -> None:
    health = resolved().health
    assert [(each.degraded, each.unhealthy) for each in (health.memory, health.cpu, health.disk)] == [
        (80, 90),
        (80, 95),
        (85, 95),
    ]
    assert health.statuses["unhealthy"] == 200


@pytest.mark.parametrize(
    ("troubled", "status"),
    [
        ([], "healthy"),
        (["cpu"], "degraded"),
        (["cpu", "memory"], "unhealthy"),
        (["cpu", "disk", "network"], "unhealthy"),
    ],
)
def test_one_trouble_is_degraded_and_two_are_unhealthy(troubled: list[str], status: str) -> None:
    (item,) = [each for each in resolved().surface if each.path == "/health"]
    body = compiled(item)
    assert body is not None
    checks = {
        name: {"status": "unhealthy" if name in troubled else "healthy"}
        for name in ("memory", "cpu", "disk", "network")
    }
    worst = "unhealthy" if troubled else "healthy"
    summary = {"total_services": 18, "healthy_instances": 18, "overall_health": 100.0}
    record: dict[str, Any] = {"status": worst, "gateway": {"status": worst}, "checks": checks, "dependencies": {}}
    record |= {
        "timestamp": 1.0,
        "uptime": {"seconds": 1, "human_readable": "0:00:01"},
        "services": {"summary": summary},
    }
    said = json.loads(body.render(record))
    assert (said["status"], said["gateway"]["status"]) == (status, status)


def test_a_service_that_fails_its_checks(run: Running) -> None:
    """S1-29: 17 of 18 are 94.4 %, and its callers get 503, until it is well again."""
    run.stubs["billing"].health = 500

    def down() -> Any:
        said = run.gateway.shown("/health")
        return said["services"]["summary"]["healthy_instances"] == 17 and said

    said: Any = until(down, "it is out")
    assert said["services"]["summary"]["overall_health"] == 94.4
    assert said["status"] == "degraded"
    answer = run.gateway.get("/api/v1/billing/x", bearer=token())
    assert (answer.status, answer.json["message"]) == (503, "The billing service is temporarily unavailable")
    status = run.gateway.shown("/status")
    assert status["summary"]["overall_health"] == 94.4
    assert status["services"]["billing"]["instances"][0]["status"] == "unhealthy"
    run.stubs["billing"].health = 200
    until(lambda: run.gateway.get("/api/v1/billing/x", bearer=token()).status == 200, "it is back")


def test_the_checks_of_services_by_default() -> None:
    health = resolved().services[0].health
    assert health is not None
    assert (health.path, health.interval, health.timeout, health.unhealthy_threshold) == ("/health", 30, 5, 3)


def test_status_shows_all_instances(run: Running) -> None:
    said = run.gateway.shown("/status")
    assert list(said["services"]) == list(SERVICES)
    service = said["services"]["overview"]
    assert {"instances", "healthy_count", "total_count", "health_percentage"} <= set(service)
    wanted = {"url", "status", "health_score", "response_time", "error_count", "success_count", "last_check"}
    assert wanted <= set(service["instances"][0])
    # What the instance answered to checks, this one always well.
    counts = service["instances"][0]
    assert (type(counts["success_count"]), counts["error_count"]) == (int, 0)
    assert list(said["summary"]) == ["total_services", "total_instances", "healthy_instances", "overall_health"]
    assert run.gateway.shown("/services")["services"].keys() == said["services"].keys()
    assert run.gateway.shown("/service/overview")["service"] == "overview"
    # What is wrong with a question is told as everywhere.
    missing = run.gateway.get("/service/nobody")
    assert (missing.status, missing.json["error"], missing.json["status_code"]) == (404, "Not Found", 404)
    assert missing.json["request_id"] == missing.headers["x-request-id"]


def test_metrics_are_json_and_text_for_scrapers(run: Running) -> None:
    """S1-31"""
    for _ in range(3):
        assert run.gateway.get("/api/v1/marketplace/x", bearer=token()).status == 200
    assert run.gateway.get("/api/v1/marketplace/x", {"X-Stub-Status": "500"}, bearer=token()).status == 500

    def counted() -> Any:
        said = run.gateway.shown("/metrics")
        return said["status_codes"]["distribution"].get("500", {}).get("count") == 1 and said

    said: Any = until(counted, "all is counted")
    assert {"timestamp", "uptime", "requests", "services", "performance", "status_codes", "recent_errors"} <= set(said)
    assert {"total", "errors", "error_rate", "requests_per_second"} <= set(said["requests"])
    assert set(said["services"]) == {"total_services", "top_services", "service_distribution"}
    # The services are the 18; what the gateway answers itself is none's.
    assert said["services"]["total_services"] == 18
    assert said["services"]["service_distribution"]["marketplace"] == 4
    assert "headgate:own" not in said["services"]["service_distribution"]
    names = ("avg", "min", "max", "median", "p95", "p99")
    assert {"total_requests", *(f"{name}_response_time" for name in names)} <= set(said["performance"])
    assert said["status_codes"]["distribution"]["500"]["percentage"] > 0
    assert {"memory", "cpu", "disk"} <= set(said["system"])
    plain = run.gateway.get("/metrics", {"Accept": "text/plain;version=0.0.4"})
    assert plain.headers["content-type"].startswith("text/plain")
    assert 'headgate_requests_total{route="marketplace"' in plain.text
    assert run.gateway.get("/metrics", {"Accept": "application/json"}).headers["content-type"] == "application/json"


def test_the_page_of_the_api(run: Running) -> None:
    page = run.gateway.get("/docs")
    assert (page.status, page.headers["content-type"].startswith("text/html")) == (200, True)
    listed = run.gateway.shown("/openapi.json")["paths"]
    assert {"/", "/health", "/status", "/metrics", "/docs", "/ready", "/live"} <= set(listed)
    # What the page does itself, its policy allows.
    policy = page.headers["content-security-policy"]
    assert "<script" in page.text
    assert "script-src 'sha256-" in policy
    assert "<style" not in page.text or "style-src" in policy


def test_whether_it_runs(run: Running) -> None:
    assert run.gateway.shown("/ready")["status"] == "ready"
    assert run.gateway.shown("/live")["status"] == "alive"


def test_breakers_by_hand(run: Running) -> None:
    """S1-38: over HTTP as the description's users know it, and from Python."""
    path = "/proxy/load-balancer/circuit-breaker/workflows"
    assert run.gateway.ask("POST", f"{path}/open").status == 401
    assert run.gateway.ask("POST", f"{path}/open", bearer=token(role="viewer")).status == 403
    assert run.gateway.ask("POST", f"{path}/open", bearer=token(role="admin")).status == 200
    refused = run.gateway.get("/api/v1/workflows/x", bearer=token())
    assert (refused.status, refused.json["error"]) == (503, "Service unavailable")
    shown = run.gateway.shown("/proxy/load-balancer/status")
    assert (shown["strategy"], shown["circuit_breakers"]["workflows"]["state"]) == ("round_robin", "open")
    assert run.gateway.ask("POST", f"{path}/close", bearer=token(role="owner")).status == 200
    assert run.gateway.get("/api/v1/workflows/x", bearer=token()).status == 200
    for missing in ("workflows/explode", "nobody/open"):
        answer = run.gateway.ask("POST", f"/proxy/load-balancer/circuit-breaker/{missing}", bearer=token(role="admin"))
        assert (answer.status, answer.json["error"], answer.json["status_code"]) == (404, "Not Found", 404)
    with Client(run.gateway.admin, TOKEN) as client:
        client.steer_breaker("workflows", "open")
        assert client.breakers()["workflows"]["state"] == "open"
        client.steer_breaker("workflows", "reset")
        assert client.breakers()["workflows"]["state"] == "closed"


def test_security_headers_on_every_answer(run: Running) -> None:
    """S1-41"""
    for answer in (run.gateway.get("/health"), run.gateway.get("/nowhere"), run.gateway.get("/docs")):
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"]
        assert answer.headers["referrer-policy"]


def preflight(run: Running, origin: str) -> Answer:
    asks = {"Origin": origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "X-API-Key"}
    return run.gateway.ask("OPTIONS", "/api/v1/overview/x", headers=asks)


@pytest.mark.parametrize("origin", ["https://app.vocelio.ai", "https://dashboard.vocelio.ai", "http://localhost:3000"])
def test_pages_of_the_product_may_ask(run: Running, origin: str) -> None:
    """S1-39"""
    allowed = preflight(run, origin)
    assert allowed.status == 204
    assert allowed.headers["access-control-allow-origin"] == origin
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert "PUT" in allowed.headers["access-control-allow-methods"]
    for bearer in (token(), None):
        answer = run.gateway.get("/api/v1/overview/x", {"Origin": origin}, bearer=bearer)
        assert answer.headers["access-control-allow-origin"] == origin
        assert "X-RateLimit-Remaining" in answer.headers["access-control-expose-headers"]


def test_pages_of_others_may_not(run: Running) -> None:
    foreign = "https://evil.example"
    assert "access-control-allow-origin" not in preflight(run, foreign).headers
    answer = run.gateway.get("/api/v1/overview/x", {"Origin": foreign}, bearer=token())
    assert "access-control-allow-origin" not in answer.headers
    cors = resolved(CORS_ORIGINS="https://one.example, https://two.example").cors
    assert cors is not None
    assert cors.origins == ["https://one.example", "https://two.example"]


def test_hosts_that_are_trusted(run: Running) -> None:
    """S1-40"""
    for host, status in {
        "localhost": 200,
        "api.vocelio.ai": 200,
        "gateway.up.railway.app": 200,
        "vocelio.ai.evil.example": 400,
    }.items():
        with closing(http.client.HTTPConnection("127.0.0.1", run.gateway.port, timeout=CEILING)) as connection:
            connection.request("GET", "/docs", headers={"Host": host})
            assert connection.getresponse().status == status, host
    # Whoever asks an address for health need not know the name.
    assert run.gateway.get("/health", {"X-Forwarded-Host": "evil.example"}).status == 200
    assert resolved(ALLOWED_HOSTS="*").trusted_hosts == ()
    assert resolved(ALLOWED_HOSTS="one.example").trusted_hosts == ("one.example",)


def test_compression(run: Running) -> None:
    """S1-43: what is large, is not compressed yet and is no stream."""
    large, small = b'{"a": "' + b"x" * 10_000 + b'"}', b'{"a": 1}' * 10
    accept = {"Accept-Encoding": "gzip"}

    def get(body: bytes, **wanted: Any) -> Answer:
        run.stubs["knowledge-base"].answer = Wanted(body=body, **wanted)
        return run.gateway.get("/api/v1/knowledge-base/x", accept, bearer=token())

    answer = get(large)
    assert (answer.headers["content-encoding"], gzip.decompress(answer.body)) == ("gzip", large)
    assert "content-encoding" not in get(small).headers
    packed = gzip.compress(large)
    answer = get(packed, headers={"Content-Encoding": "gzip"})
    assert (answer.headers["content-encoding"], answer.body) == ("gzip", packed)
    answer = get(b"data: 1\n\n" * 500, type="text/event-stream")
    assert (answer.headers.get("content-encoding"), len(answer.body)) == (None, 4500)


def test_answers_given_again(run: Running) -> None:
    """S1-51: to the same caller, and to nobody else."""
    run.stubs["integrations"].answer = Wanted(headers={"Cache-Control": "max-age=3600"})
    path = "/api/v1/integrations/catalogue"
    first, second = (run.gateway.get(path, bearer=token()) for _ in range(2))
    assert (len(run.stubs["integrations"].seen), second.body) == (1, first.body)
    assert int(second.headers["age"]) >= 0
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    for other in (token(user_id="u2"), token(user_id="u1", org_id="initech")):
        assert "age" not in run.gateway.get(path, bearer=other).headers
    assert len(run.stubs["integrations"].seen) == 3
    assert run.gateway.ask("POST", path, {}, bearer=token()).status == 200
    assert resolved(ENABLE_CACHING="false").routes[0].cache is None


def test_websockets_are_a_variable() -> None:
    assert resolved().routes[0].settings.upgrade == ["websocket"]
    assert {tuple(each.settings.upgrade) for each in resolved(ENABLE_WEBSOCKETS="false").routes} == {()}


def test_each_request_is_a_line_of_json(run: Running) -> None:
    answer = run.gateway.get("/api/v1/outbound-calls/x?secret=1", {"X-Request-ID": "req_logged"}, bearer=token())
    assert answer.status == 200
    line: Any = until(
        lambda: next((each for each in run.gateway.access_log() if each.get("request_id") == "req_logged"), None),
        "the line",
    )
    assert (line["method"], line["path"], line["status_code"]) == ("GET", "/api/v1/outbound-calls/x", 200)
    assert (line["service"], line["identity"], line["tenant"]) == ("outbound-calls", "u1", "acme")
    assert line["duration_ms"] > 0


def test_who_was_refused_stands_in_the_audit_log(run: Running) -> None:
    run.gateway.get("/api/v1/outbound-calls/x", {"X-Request-ID": "req_refused"})
    line: Any = until(
        lambda: next((each for each in run.gateway.log() if each.get("request_id") == "req_refused"), None), "the line"
    )
    assert (line["event"], line["reason"], line["status"]) == ("request.refused", "missing_credentials", 401)


def test_credentials_reach_services_by_header_fields_and_are_shown_nowhere(run: Running) -> None:
    key = "sk-canary-of-openai"
    answer = run.gateway.get("/api/v1/voice-lab/speech", bearer=token())
    assert answer.json["headers"]["x-upstream-key"] == key
    explained = run.gateway.command("check", *map(str, run.gateway.paths), "--preset", "vocelio", "--explain")
    assert "X-Upstream-Key" in explained.stdout
    shown = run.gateway.tell("GET", "/api/v1/config").text
    for text in (explained.stdout + explained.stderr, run.gateway.stderr, run.gateway.stdout, shown):
        assert key not in text
        assert SECRET not in text


def test_what_is_not_set_is_said_once(run: Running) -> None:
    names = ("SUPABASE_URL", "SUPABASE_SERVICE_KEY", "DATABASE_URL", "REDIS_URL")
    for name in (*names, "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "ELEVENLABS_API_KEY"):
        assert run.gateway.stderr.count(f"{name} is not set: ") == 1, name
    assert "OPENAI_API_KEY is not set" not in run.gateway.stderr


def test_outside_development_the_inside_is_for_those_who_are_known(tmp_path_factory: pytest.TempPathFactory) -> None:
    """S1-32, S1-47: with all services down it starts on the platform's port, degraded, and its health is 200."""
    env = {"HEALTH_CHECK_INTERVAL": "1", "UNHEALTHY_THRESHOLD": "1", "ENVIRONMENT": "production"}
    with running(tmp_path_factory.mktemp("production"), env=env, only=()) as run:
        for path in ("/status", "/metrics", "/services", "/service/overview", "/proxy/load-balancer/status"):
            assert run.gateway.get(path).status == 401, path
            assert run.gateway.get(path, bearer=token()).status == 200, path
        for path in ("/", "/health", "/docs", "/ready", "/live"):
            assert run.gateway.get(path).status == 200, path

        def degraded() -> bool:
            said = run.gateway.shown("/health")
            summary = said["services"]["summary"]
            return bool(said["status"] != "healthy" and summary["healthy_instances"] == 0)

        until(degraded, "all are found to be down")


@pytest.mark.parametrize(
    ("env", "mode"),
    [
        ({}, "none"),
        ({"ENVIRONMENT": "staging"}, "required"),
        ({"ENVIRONMENT": "production"}, "required"),
        ({"ENVIRONMENT": "production", "STATUS_PUBLIC": "true"}, "none"),
        ({"STATUS_PUBLIC": "false"}, "required"),
    ],
)
def test_who_may_see_the_inside(env: dict[str, str], mode: str) -> None:
    config = resolved(**env)
    modes = {item.path: route.auth.mode for item, route in zip(config.surface, config.own_routes, strict=True)}
    assert {modes[path] for path in ("/status", "/metrics", "/services", "/proxy/load-balancer/status")} == {mode}
    assert {modes[path] for path in ("/", "/health", "/docs")} == {"none"}


def test_metrics_can_be_switched_off(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert not resolved(ENABLE_METRICS="false").telemetry.metrics.enabled


def test_the_log_has_a_level() -> None:
    for given, (own, access) in {
        "INFO": ("info", "info"),
        "debug": ("debug", "info"),
        "WARNING": ("warning", "warning"),
        "CRITICAL": ("error", "error"),
    }.items():
        telemetry = resolved(LOG_LEVEL=given).telemetry
        assert (telemetry.level, telemetry.access_log.level, telemetry.access_log.format) == (own, access, "json")


def test_json_of_health_is_what_a_platform_reads(run: Running) -> None:
    assert json.loads(run.gateway.get("/health").body)["status"]
