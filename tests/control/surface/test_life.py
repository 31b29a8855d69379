"""Own endpoints through the life of a gateway: control dies, a configuration changes, somebody looks around."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.control.driver import until
from tests.control.surface.running import Running, running
from tests.proxy.callers import keys, static, with_key

WORKERS = {"path": "/workers", "view": "status", "body": {"pids": "{{ workers | map(attribute='pid') | list }}"}}
HEALTH = {"path": "/health", "view": "health", "body": {"status": "{{ status }}", "stale": "{{ stale }}"}}


def test_health_goes_on_without_control_and_all_else_with_its_successor(tmp_path: Path) -> None:
    with running(tmp_path, {"surface": [WORKERS, HEALTH, {"path": "/live", "view": "live"}]}) as gateway:
        until(lambda: gateway.shown("/health").get("stale") is False, "the first answers")
        pids = until(lambda: (found := gateway.shown("/workers")["pids"]) and all(found) and found, "both workers")
        gateway.kill_control(set(pids))
        seen = set()

        def back() -> bool:
            assert gateway.shown("/live") == {"status": "alive"}
            assert gateway.ask("GET", "/ready").status == 200
            assert gateway.ask("GET", "/chat/x").status == 200
            health = gateway.ask("GET", "/health")
            assert health.status == 200
            answer = gateway.ask("GET", "/workers")
            seen.add(answer.status)
            return answer.status == 200 and not json.loads(health.body)["stale"]

        until(back, "the successor answers")
        assert seen == {200}
        assert gateway.shown("/workers")["pids"] == pids


def test_what_the_gateway_depends_on_is_known_to_control_alone_and_to_its_successor(tmp_path: Path) -> None:
    secret = "a-password-that-nobody-else-has"
    away = {"name": "cache", "url": f"redis://:{secret}@127.0.0.1:1", "ready": True, "interval": 0.2}
    document = {"surface": [WORKERS], "health": {"dependencies": [away]}}
    with running(tmp_path, document) as gateway:
        until(lambda: gateway.ask("GET", "/ready").status == 503, "the gateway is not ready")
        assert gateway.ask("GET", "/ready").json == {"status": "not_ready", "reason": "dependency"}
        pids = until(lambda: (found := gateway.shown("/workers")["pids"]) and all(found) and found, "both workers")
        (tmp_path / "gateway.yaml").write_text("services: [")
        gateway.kill_control(set(pids))
        until(lambda: gateway.ask("GET", "/workers").status == 200, "the successor answers")
        assert gateway.ask("GET", "/ready").status == 503
        assert secret not in (tmp_path / "stderr").read_text()


def test_a_reload_changes_what_is_answered(tmp_path: Path) -> None:
    with running(tmp_path, {"surface": [HEALTH]}) as gateway:
        assert gateway.ask("GET", "/status").status == 404
        file = tmp_path / "gateway.yaml"
        document = json.loads(file.read_text())
        document["surface"] = [{"path": "/status", "view": "status"}]
        document["admin"]["expose"] = []
        fresh = tmp_path / "fresh"
        fresh.write_text(json.dumps(document))
        fresh.replace(file)
        until(lambda: gateway.ask("GET", "/status").status == 200, "the new item")
        # Each worker changes by itself.
        for path in ("/health", "/ready"):
            until(lambda path=path: gateway.ask("GET", path).status == 404, f"{path} is gone")  # type: ignore[misc]


# Every path that control answers anywhere, and what is tried to get there.
ADMIN = (
    "/", "/ui/", "/ui/session", "/status", "/metrics", "/openapi.json", "/docs", "/redoc", "/live", "/services",
    "/services/x", "/services/x/health", "/services/x/heartbeat", "/breakers", "/endpoints", "/reload",
    "/circuit-breakers", "/api/v1/health", "/api/v1/status", "/api/v1/reload", "/api/v1/config",
    "/api/v1/config/services", "/api/v1/config/routes", "/api/v1/config/changes", "/api/v1/endpoints",
    "/api/v1/circuit-breakers", "/api/v1/circuit-breakers/chat/reset", "/api/v1/limits", "/api/v1/limits/reset",
    "/api/v1/keys", "/api/v1/keys/x/rotate", "/api/v1/services", "/api/v1/services/health", "/api/v1/services/status",
    "/api/v1/services/chat/health", "/api/v1/services/chat/metrics", "/api/v1/discovery", "/api/v1/telemetry/spans",
    "/api/v1/telemetry/metrics", "/api/v1/telemetry/logs", "/api/v1/telemetry/requests", "/api/v1/telemetry/errors",
    "/api/v1/telemetry/circuit-breakers", "/api/v1/telemetry/rate-limiters", "/api/v1/telemetry/history",
    "/api/v1/telemetry/stream", "/api/v1/proxy", "/api/v1/proxy/chat/x",
)  # fmt: skip


def variants(path: str) -> list[str]:
    """Return other spellings of a path, for whoever reads paths in another way."""
    return [path, f"{path}/", f"/{path}", path.replace("/api", "/%61pi"), f"/x/..{path}", f"{path};x", path.upper()]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # One item is open, one is for the boss, and a catch-all route takes all that is nobody's.
    surface = [
        {"path": "/open/status", "view": "status", "auth": "none"},
        {"path": "/boss/logs", "view": "logs", "auth": {"roles": ["boss"]}},
        {"path": "/boss/{service}/reset", "view": "reset_breaker", "auth": {"roles": ["boss"]}},
        {"path": "/boss/proxy/{service}/{path}", "view": "proxy", "auth": {"roles": ["boss"]}},
    ]
    identity = keys(static("boss", roles=["boss"]), static("clerk", roles=["clerk"]))
    folder = tmp_path_factory.mktemp("crawl")
    with running(folder, {"surface": surface, "identity": identity, "auth": "optional"}) as gateway:
        until(lambda: gateway.ask("GET", "/open/status").status == 200, "own endpoints")
        yield gateway


@pytest.mark.parametrize("who", ["nobody", "clerk"])
def test_nothing_of_control_is_reached_through_the_data_plane(guarded: Running, who: str) -> None:
    shown = {} if who == "nobody" else {"X_API_Key": with_key("clerk").partition(": ")[2]}
    for path, method in itertools.product(ADMIN, ("GET", "POST", "PUT", "DELETE")):
        for target in variants(path) if method == "GET" else [path]:
            answer = guarded.ask(method, target, None, **shown)
            # Not even that it is there.
            assert answer.status in (400, 404), (method, target, answer)
            assert b"route_not_found" in answer.body or b"bad_path" in answer.body
    for path in ("/boss/logs", "/boss/proxy/chat/x"):
        assert guarded.ask("GET", path, None, **shown).status == (401 if who == "nobody" else 403)
    assert guarded.ask("POST", "/boss/away/reset", None, **shown).status == (401 if who == "nobody" else 403)


def test_who_may_reaches_what_is_configured(guarded: Running) -> None:
    boss = {"X_API_Key": with_key("boss").partition(": ")[2]}
    assert guarded.ask("GET", "/boss/logs", None, **boss).status == 200
    assert guarded.ask("POST", "/boss/away/reset", None, **boss).status == 200
    assert guarded.ask("GET", "/boss/proxy/chat/x", None, **boss).status == 200
    # Neither what control listens on nor the service behind own endpoints is a service.
    assert guarded.ask("GET", "/boss/proxy/headgate:own/api/v1/keys", None, **boss).status == 404
    # What was shown to the worker goes no further: control is told who asks, by the worker alone.
    spoofed = guarded.ask("GET", "/open/status", None, X_Headgate_Caller='{"kind": "operator"}')
    assert spoofed.status == 200


def test_the_socket_behind_own_endpoints_is_this_users_alone(guarded: Running, tmp_path_factory: Any) -> None:
    sockets = list(tmp_path_factory.getbasetemp().glob("crawl*/headgate-run-*/surface.sock"))
    assert sockets
    assert all(each.stat().st_mode & 0o077 == 0 for each in sockets)
