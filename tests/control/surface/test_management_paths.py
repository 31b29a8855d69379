"""The management and telemetry paths that operators bring along from other gateways: each answers on the admin
listener, as an own endpoint of a public one, or on both."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from headgate.client import Client
from tests.control.driver import free_port, until
from tests.control.surface.running import running


class Place(NamedTuple):
    """A path as it is asked for, the view that answers it on public listeners, and its path there."""

    asked: str
    view: str
    path: str
    on_admin: bool = True


PLACES: Final = (
    Place("/", "index", "/"),
    Place("/health", "health", "/health"),
    Place("/ready", "ready", "/ready"),
    Place("/status", "status", "/status"),
    Place("/metrics", "metrics", "/metrics"),
    Place("/docs", "docs", "/docs"),
    Place("/openapi.json", "openapi", "/openapi.json"),
    Place("/circuit-breakers", "circuit_breakers", "/circuit-breakers", on_admin=False),
    Place("/api/v1/health", "health", "/api/v1/health"),
    Place("/api/v1/proxy/chat/x", "proxy", "/api/v1/proxy/{service_name}/{path}", on_admin=False),
    Place("/api/v1/config", "config", "/api/v1/config"),
    Place("/api/v1/config/services", "config_services", "/api/v1/config/services"),
    Place("/api/v1/config/services/chat", "config_service", "/api/v1/config/services/{service}"),
    Place("/api/v1/config/routes", "config_routes", "/api/v1/config/routes"),
    Place("/api/v1/telemetry/spans", "spans", "/api/v1/telemetry/spans"),
    Place("/api/v1/telemetry/metrics", "metric_points", "/api/v1/telemetry/metrics"),
    Place("/api/v1/telemetry/logs", "logs", "/api/v1/telemetry/logs"),
    Place("/api/v1/telemetry/circuit-breakers", "circuit_breakers", "/api/v1/telemetry/circuit-breakers"),
    Place("/api/v1/telemetry/rate-limiters", "rate_limiters", "/api/v1/telemetry/rate-limiters"),
    Place("/api/v1/circuit-breakers", "circuit_breakers", "/api/v1/circuit-breakers"),
    Place("/api/v1/services", "services", "/api/v1/services"),
    Place("/api/v1/services/health", "services_health", "/api/v1/services/health"),
    Place("/api/v1/services/status", "services_status", "/api/v1/services/status"),
    Place("/api/v1/services/chat/health", "service_health", "/api/v1/services/{service}/health"),
    Place("/api/v1/services/chat/metrics", "service_metrics", "/api/v1/services/{service}/metrics"),
)


def test_all_of_them_answer_on_the_listeners_that_they_are_said_of(tmp_path: Path) -> None:
    surface = [{"path": each.path, "view": each.view, "auth": "none"} for each in PLACES]
    surface += [
        {"path": "/api/v1/proxy", "view": "proxy", "auth": "none"},
        {"path": "/api/v1/circuit-breakers/{service}/reset", "view": "reset_breaker", "auth": "none"},
    ]
    admin = f"127.0.0.1:{free_port()}"
    with running(tmp_path, {"surface": surface, "admin": {"expose": [], "address": admin}}) as gateway:
        until(lambda: gateway.ask("GET", "/api/v1/config").status == 200, "control answers")
        found = {each.asked: gateway.ask("GET", each.asked).status for each in PLACES}
        assert found == dict.fromkeys(found, 200)
        envelope = {"service_name": "chat", "path": "/x", "method": "GET"}
        assert gateway.ask("POST", "/api/v1/proxy", envelope).status == 200
        assert gateway.ask("POST", "/api/v1/circuit-breakers/chat/reset").status == 200
        # Nothing else of the gateway is there.
        for path in ("/api/v1/keys", "/api/v1/endpoints", "/api/v1/discovery", "/ui/", "/services"):
            assert gateway.ask("GET", path).status == 404, path

        with Client(admin) as operator:
            on_admin = {each.asked: operator.ask("GET", each.asked).status_code for each in PLACES if each.on_admin}
            assert on_admin == dict.fromkeys(on_admin, 200)
