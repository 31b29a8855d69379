"""What `headgate explain` says of own endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.cli.explanation import Question, explain
from tests.proxy.callers import keys, static, with_key
from tests.proxy.stage import resolved

CONFIG: dict[str, Any] = {
    "surface": [
        {"path": "/h", "view": "health"},
        {"path": "/status", "view": "status", "auth": {"roles": ["boss"]}},
        {"path": "/of/{service}/health", "view": "service_health", "auth": "none"},
        {"path": "/proxy/{service}/{path}", "view": "proxy", "auth": "none"},
    ],
    "services": [{"name": "chat", "url": "http://a", "routes": [{"name": "all"}]}],
    "identity": keys(static("boss", roles=["boss"]), static("clerk", roles=["clerk"])),
    "trusted_hosts": ["api.example"],
}


def verdict(method: str, path: str, *fields: tuple[str, str], host: str = "api.example") -> str:
    return str(explain(resolved(CONFIG), Question(method, path, host, list(fields), "192.0.2.1"))["verdict"])


def key(name: str) -> tuple[str, str]:
    field, _, value = with_key(name).partition(": ")
    return field, value


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/h", "answered by the gateway itself: /h is the view health of surface"),
        ("GET", "/h/", "answered by the gateway itself: /h is the view health of surface"),
        ("GET", "/of/chat/health/", "answered by the gateway itself: /of/{service}/health is the view service_health"),
        ("HEAD", "/h", "answered by the gateway itself: /h is the view health of surface"),
        ("POST", "/h", "refused with 405: this own endpoint answers GET, HEAD only"),
        ("GET", "/of/chat/health", "answered by the gateway itself: /of/{service}/health is the view service_health"),
        ("PUT", "/proxy/chat/x", "goes on to the service it names (/proxy/{service}/{path}, view proxy)"),
        ("GET", "/health", "answered by the gateway itself: /health is in admin.expose"),
        ("GET", "/status", "refused with 401 (missing_credentials) by route own /status"),
    ],
)
def test_an_own_endpoint_is_told_from_a_route(method: str, path: str, said: str) -> None:
    assert verdict(method, path).startswith(said)


def test_who_may_is_said() -> None:
    assert verdict("GET", "/status", key("clerk")).startswith("refused with 403 (forbidden) by route own /status")
    assert verdict("GET", "/status", key("boss")).startswith("answered by the gateway itself")


def test_health_is_answered_whatever_host_is_asked_for() -> None:
    assert verdict("GET", "/h", host="10.0.0.1").startswith("answered")
    assert verdict("GET", "/of/chat/health", host="10.0.0.1").startswith("refused with 400")
