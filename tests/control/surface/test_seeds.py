"""The own endpoints of five gateways, each by a configuration alone: paths, methods, bodies, who may ask."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.control.driver import until
from tests.control.surface.running import Running, running, seed

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NOW = datetime(2020, 1, 1, tzinfo=UTC).timestamp()


def answered(gateway: Running, path: str) -> Any:
    """Wait until control has made the answers of a path that workers answer alone, and return it."""
    return until(lambda: (found := gateway.ask("GET", path)).status in (200, 503) and found.json, path)


def five_refused(gateway: Running) -> None:
    for _ in range(5):
        assert gateway.ask("GET", "/away").status == 502


def opened(gateway: Running, path: str) -> Any:
    """Return all breakers once that of `away` is open: a worker notes how a request went behind its answer."""
    return until(lambda: (said := gateway.shown(path))["away"]["state"] == "open" and said, "the breaker is open")


def test_a_mesh_proxy(tmp_path: Path) -> None:
    with running(tmp_path, seed("service_mesh")) as gateway:
        health = until(lambda: (said := gateway.shown("/api/v1/health")).get("service") and said, "the first answers")
        features = {f"{name}_enabled" for name in ("tracing", "metrics", "circuit_breaker", "rate_limit", "mtls")}
        assert set(health) == {"status", "service", "version", "features", "circuit_breakers", "rate_limiters"}
        assert set(health["features"]) == features
        assert all(isinstance(value, bool) for value in health["features"].values())
        assert (health["circuit_breakers"], health["rate_limiters"]) == (2, 2)
        assert gateway.ask("HEAD", "/api/v1/health").body == b""
        assert gateway.ask("POST", "/api/v1/health").status == 405
        assert gateway.ask("GET", "/health").status == 404
        assert set(gateway.shown("/")) == {"service", "version", "description"}

        envelope = {"service_name": "chat", "path": "/x", "method": "GET"}
        assert gateway.ask("POST", "/api/v1/proxy", envelope).body == gateway.service.name.encode()
        missing = gateway.ask("POST", "/api/v1/proxy", {"path": "/x"})
        assert missing.status == 422
        assert [each["loc"][-1] for each in missing.json["detail"]] == ["service_name", "method"]
        unknown = gateway.ask("POST", "/api/v1/proxy/unknown/x")
        assert (unknown.status, unknown.json) == (404, {"error": "Service not found"})
        assert gateway.ask("GET", "/api/v1/proxy/chat/x").status == 405

        services = gateway.shown("/api/v1/config/services")
        assert [each["name"] for each in services] == ["chat", "away"]
        assert services[0]["rate_limit"] == {"enabled": True, "requests": 100, "window": 60}
        assert gateway.shown("/api/v1/config")["services"] == services
        assert gateway.shown("/api/v1/config/services/away") == services[1]
        assert gateway.ask("GET", "/api/v1/config/services/nobody").json == {"detail": "Service not found"}
        route = gateway.shown("/api/v1/config/routes")[0]
        assert (route["name"], route["match"]["path"], route["match"]["method"]) == ("chat-route", "/chat", "GET")
        assert route["destinations"] == [{"service_name": "chat", "weight": 100}]

        five_refused(gateway)
        said = opened(gateway, "/api/v1/telemetry/circuit-breakers")["away"]
        assert (said["state"], said["failure_count"], said["threshold"], said["timeout"]) == ("open", 5, 5, 3600)
        assert said["last_failure_time"] > NOW
        told = gateway.shown("/iso/circuit-breakers")["away"]
        assert datetime.fromisoformat(told["last_failure_time"]).timestamp() == said["last_failure_time"]
        assert datetime.fromisoformat(gateway.shown("/iso/health")["timestamp"]).timestamp() > NOW
        limiters = gateway.shown("/api/v1/telemetry/rate-limiters")
        assert set(limiters["chat"]) == {"requests", "window", "remaining", "reset"}

        gateway.ask("GET", "/chat/x")
        spans = until(
            lambda: [
                span
                for span in gateway.shown("/api/v1/telemetry/spans")
                if span["tags"].get("path") == "/chat/x" and span["tags"].get("status_code") == "200"
            ],
            "the span",
        )
        assert {"id", "trace_id", "parent_id", "name", "service_name", "duration_ms", "tags"} <= set(spans[0])
        points = gateway.shown("/api/v1/telemetry/metrics")
        assert set(points[0]) == {"name", "value", "timestamp", "labels"}
        logs = gateway.shown("/api/v1/telemetry/logs?limit=2")
        assert len(logs) == 2
        assert set(logs[0]) == {"timestamp", "level", "message", "service_name", "trace_id", "span_id", "metadata"}

        listed = gateway.shown("/openapi.json")["paths"]
        assert set(listed) == {item["path"] for item in seed("service_mesh")["surface"]}
        assert list(listed["/api/v1/proxy/{service_name}/{path}"]) == ["post"]
        page = gateway.ask("GET", "/docs")
        assert page.headers["content-type"].startswith("text/html")
        assert b"/api/v1/telemetry/spans" in page.body


def test_a_call_centre(tmp_path: Path) -> None:
    key = "voc_boss-key-of-the-tests"
    with running(tmp_path, seed("call_centre")) as gateway:
        health = until(lambda: (said := gateway.shown("/health")).get("gateway") and said, "the first answers")
        assert set(health) == {"status", "timestamp", "gateway", "services"}
        assert health["timestamp"] > NOW
        assert set(health["gateway"]) == {"status", "uptime", "checks"}
        assert re.fullmatch(r"(\d+ days?, )?\d+:\d\d:\d\d", health["gateway"]["uptime"]["human_readable"])
        checked = until(
            lambda: (checks := gateway.shown("/health")["gateway"]["checks"])["disk"]["status"] != "unknown" and checks,
            "the first looks",
        )
        assert set(checked) == {"memory", "cpu", "disk", "network"}
        assert all(0 <= checked[name]["usage_percent"] <= 100 for name in ("memory", "cpu", "disk"))
        assert health["services"]["summary"] == {"total_services": 2, "healthy_instances": 2, "overall_health": 100.0}

        status = gateway.shown("/status")
        assert status["summary"]["total_instances"] == 2
        instance = status["services"]["chat"]["instances"][0]
        wanted = {"url", "status", "health_score", "response_time", "error_count", "success_count", "last_check"}
        assert wanted <= set(instance)
        assert {"healthy_count", "total_count", "health_percentage"} <= set(status["services"]["chat"])

        for _ in range(3):
            gateway.ask("GET", "/chat/x")
        five_refused(gateway)
        # What a worker counts it counts behind its answer.
        numbers = until(
            lambda: (
                (said := gateway.shown("/metrics"))["status_codes"]["distribution"].get("502", {}).get("count") == 5
                and said["services"]["service_distribution"].get("chat") == 3
                and said
            ),
            "all is counted",
        )
        assert numbers["requests"]["errors"] >= 5
        assert numbers["performance"]["p95_response_time"] >= numbers["performance"]["median_response_time"] > 0
        text = gateway.ask("GET", "/metrics", Accept="text/plain;version=0.0.4")
        assert text.headers["content-type"].startswith("text/plain")
        assert b"headgate_requests_total{" in text.body

        path = "/proxy/load-balancer/circuit-breaker/away"
        assert gateway.ask("POST", f"{path}/close").status == 401
        assert gateway.ask("POST", f"{path}/close", X_API_Key=key).status == 200
        assert gateway.ask("GET", "/away").status == 502
        assert gateway.ask("POST", f"{path}/open", X_API_Key=key).status == 200
        assert gateway.ask("GET", "/away").status == 503
        assert gateway.ask("POST", f"{path}/burn", X_API_Key=key).status == 404
        assert gateway.shown("/")["docs"] == "/docs"
        # What admin.expose has is answered there, too.
        page = gateway.ask("GET", "/docs").body
        assert b"<code>/ready</code>" in page
        assert page.count(b"<code>/health</code>") == 2


def test_ai_services(tmp_path: Path) -> None:
    key = "hg_boss-key-of-the-tests"
    with running(tmp_path, seed("ai_services")) as gateway:
        health = until(
            lambda: (said := gateway.shown("/health")).get("checks", {}).get("redis") == "error" and said, "the looks"
        )
        assert (health["status"], health["service"]) == ("degraded", "api_gateway")
        assert health["checks"] == {"redis": "error", "qdrant": "error"}
        assert ISO.fullmatch(health["timestamp"])
        assert gateway.shown("/health/live") == {"status": "alive"}
        assert gateway.shown("/health/ready") == {"status": "ready"}

        for _ in range(4):
            gateway.ask("GET", "/chat/x")
        five_refused(gateway)
        breakers = opened(gateway, "/circuit-breakers")
        assert {"state": "closed", "failure_count": 0, "recent_failures": 0, "total_calls": 4}.items() <= breakers[
            "chat"
        ].items()
        assert (breakers["away"]["state"], breakers["away"]["total_calls"]) == ("open", 5)
        assert set(gateway.shown("/api/v1/circuit-breakers")) == {"circuit_breakers", "timestamp"}
        path = "/api/v1/circuit-breakers/away/reset"
        assert gateway.ask("POST", path).status == 401
        told = gateway.ask("POST", path, X_API_Key=key)
        assert (told.status, told.json["message"]) == (200, "Circuit breaker away reset")
        assert gateway.shown("/circuit-breakers")["away"]["state"] == "closed"
        unknown = gateway.ask("POST", "/api/v1/circuit-breakers/nobody/reset", X_API_Key=key)
        assert unknown.status == 404
        assert gateway.ask("GET", "/metrics").headers["content-type"].startswith("text/plain")


def test_a_sandbox(tmp_path: Path) -> None:
    with running(tmp_path, seed("sandbox")) as gateway:
        health = until(lambda: (said := gateway.shown("/health")).get("version") and said, "the first answers")
        assert set(health) == {"status", "timestamp", "version", "uptime", "services", "circuit_breakers"}
        assert not health["timestamp"].endswith("Z")
        assert datetime.fromisoformat(health["timestamp"]).timestamp() > NOW
        five_refused(gateway)
        services = gateway.shown("/api/v1/services/health")
        assert set(services) == {"overall_status", "services", "last_check"}
        assert {"service", "status", "url"} <= set(services["services"]["chat"])
        status = gateway.shown("/api/v1/services/status")["chat"]
        assert {"total_instances", "healthy_instances", "instances"} <= set(status)
        assert {"url", "is_healthy", "response_time", "failure_count", "last_health_check"} <= set(
            status["instances"][0]
        )
        assert gateway.shown("/api/v1/services/chat/health")["service"] == "chat"
        unknown = gateway.ask("GET", "/api/v1/services/nope/health")
        assert (unknown.status, unknown.json) == (404, {"detail": "Service not found"})
        metrics = until(
            lambda: (
                (said := gateway.shown("/api/v1/services/away/metrics"))["circuit_breaker"]["state"] == "open" and said
            ),
            "the breaker is open",
        )
        assert metrics["circuit_breaker"] == {
            "state": "open",
            "failure_count": 5,
            "success_count": 0,
            "total_requests": 5,
            "failure_rate": 100.0,
        }
        assert gateway.ask("GET", "/docs").status == 200


def test_an_edge_gateway(tmp_path: Path) -> None:
    with running(tmp_path, seed("edge")) as gateway:
        health = until(lambda: (said := gateway.shown("/health")).get("version") and said, "the first answers")
        assert set(health) == {"status", "timestamp", "version", "uptime"}
        assert isinstance(health["uptime"], int)
        ready: Any = until(lambda: (said := gateway.ask("GET", "/ready")).status == 503 and said, "Redis is missed")
        assert ready.json == {"status": "not_ready", "message": "redis"}
        assert gateway.ask("GET", "/health").status == 200
        assert gateway.ask("GET", "/metrics").status == 200


@pytest.mark.parametrize("name", ["service_mesh", "call_centre", "ai_services", "sandbox", "edge"])
def test_every_seed_is_said_without_an_error(name: str) -> None:
    from headgate.config.loader import load

    path = Path(__file__).parent / "seeds" / f"{name}.yaml"
    assert load([path], environ={}).problems == []
