"""explain says who is turned away at the door, who is answered there, and what browsers are told."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.cli.explain import text
from headgate.cli.explanation import Question, explain
from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.resolve import ResolvedConfig

CONFIG = """
cors: {origins: [https://app.example.com, https://*.example.org], credentials: true, headers: [X-A], methods: [PUT]}
security_headers: {preset: none, hsts: {}, frame_options: DENY}
trusted_hosts: [localhost, "*.example.com"]
header_filter: {refuse: true, request: {deny: [X-Internal-*]}}
errors: {reasons: {untrusted_host: {status: 421}}}
services:
  - name: a
    url: http://10.0.0.1:80
    routes:
      - {name: any, match: {path: /}}
      - {name: open, match: {path: /open, method: GET}, cors: {origins: "*"}, security_headers: {preset: none}}
      - {name: off, match: {path: /off}, cors: {enabled: false}}
      - {name: gentle, match: {path: /gentle}, security_headers: {preset: none, frame_options: DENY, override: false}}
"""
APP = ("Origin", "https://app.example.com")
EVIL = ("Origin", "https://evil.example")


@pytest.fixture(scope="module")
def config() -> ResolvedConfig:
    result = load([], environ={}, layers=[Layer("gw.yaml", CONFIG)])
    assert result.config is not None, result.problems
    return result.config


def explained(
    config: ResolvedConfig, method: str, path: str, *fields: tuple[str, str], host: str | None = None
) -> dict[str, Any]:
    return explain(config, Question(method, path, host, list(fields)), {})


def announcing(method: str) -> tuple[str, str]:
    return ("Access-Control-Request-Method", method)


DOORS: list[tuple[str, str, list[tuple[str, str]], str | None, str]] = [
    (
        "OPTIONS",
        "/",
        [APP, announcing("PUT")],
        None,
        "a preflight, answered with 204 by the cors of route any: Access-Control-Allow-Methods: PUT,"
        " Access-Control-Allow-Headers: X-A, Access-Control-Max-Age: 600",
    ),
    (
        "OPTIONS",
        "/health",
        [APP, announcing("GET")],
        None,
        "a preflight, answered with 204 by the cors of the gateway: Access-Control-Allow-Methods: PUT,"
        " Access-Control-Allow-Headers: X-A, Access-Control-Max-Age: 600",
    ),
    (
        "OPTIONS",
        "/x",
        [EVIL, announcing("PUT")],
        None,
        "refused with 403 (origin_forbidden): the cors of route any does not name https://evil.example",
    ),
    ("GET", "/", [], "evil.example", "refused with 421 (untrusted_host): trusted_hosts does not name evil.example"),
    ("GET", "/health", [], "evil.example", "answered by the gateway itself: /health is in admin.expose"),
    (
        "GET",
        "/",
        [("x-internal-id", "1")],
        None,
        "refused with 400 (header_refused): header_filter does not let x-internal-id pass",
    ),
    ("OPTIONS", "/off", [EVIL, announcing("PUT")], None, "sent to a by route off"),
    ("OPTIONS", "/open", [APP], None, "sent to a by route any"),
]


@pytest.mark.parametrize(("method", "path", "fields", "host", "verdict"), DOORS)
def test_the_door(
    config: ResolvedConfig, method: str, path: str, fields: list[tuple[str, str]], host: str | None, verdict: str
) -> None:
    assert explained(config, method, path, *fields, host=host)["verdict"] == verdict


TOLD: list[tuple[str, list[tuple[str, str]], str]] = [
    ("/", [], "pages of https://app.example.com, https://*.example.org may read the answer"),
    ("/", [APP], "pages of https://app.example.com may read the answer, with credentials"),
    ("/", [EVIL], "pages of https://evil.example may not read the answer"),
    ("/open", [EVIL], "pages of https://evil.example may read the answer, without credentials"),
    ("/open", [], "pages of any origin may read the answer"),
    ("/off", [EVIL], "off: what the upstream says of it passes"),
    ("/health", [APP], "pages of https://app.example.com may read the answer, with credentials"),
]


@pytest.mark.parametrize(("path", "fields", "told"), TOLD)
def test_what_pages_may_read(config: ResolvedConfig, path: str, fields: list[tuple[str, str]], told: str) -> None:
    assert explained(config, "GET", path, *fields)["browsers"]["cors"] == told


def test_security_headers(config: ResolvedConfig) -> None:
    of_gateway = [
        "Strict-Transport-Security: max-age=31536000; includeSubDomains (over HTTPS)",
        "X-Frame-Options: DENY",
    ]
    for path in ("/", "/health"):
        assert explained(config, "GET", path)["browsers"]["security_headers"] == of_gateway
    assert explained(config, "GET", "/open")["browsers"]["security_headers"] == []
    gentle = explained(config, "GET", "/gentle")["browsers"]["security_headers"]
    assert gentle == ["X-Frame-Options: DENY (where the upstream has none)"]


def test_people_read_it_too(config: ResolvedConfig) -> None:
    shown = text(explained(config, "GET", "/", APP))
    assert "What browsers are told" in shown
    assert "X-Frame-Options: DENY" in shown


def test_nothing_is_said_where_nothing_is_configured() -> None:
    result = load([], environ={}, layers=[Layer("gw.yaml", "services: [{name: a, url: 'http://a.test'}]")])
    assert result.config is not None
    assert "browsers are told" not in text(explained(result.config, "GET", "/"))
