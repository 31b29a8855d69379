"""Inheritance, short forms, and that a worker can take the result without the library that made it."""

from __future__ import annotations

import pickle
import subprocess
import sys

from headgate.auth.settings import ApiKeys, IdentitySettings, JwtIssuer
from headgate.config.resolve import ResolvedConfig, default_auth, resolve
from headgate.config.schema import Config, EndpointSetting, Route, Service
from headgate.core.endpoint import Endpoint
from headgate.policy.balance.settings import RoundRobinSettings
from headgate.policy.limit.settings import Limit, ServiceRateLimit
from headgate.policy.split import Destination
from headgate.wire.settings import Timeouts
from tests.config.golden import load_text

TEXT = """
timeout: {connect: 1}
max_body: 1
headers: {request: {set: {X-Level: gateway}}}
compression: {min_size: 1}
services:
  - name: a
    url: http://a:8001/base/
    timeout: {connect: 2}
    max_body: 2
    retry: {attempts: 7}
    headers: {response: {remove: [Server]}}
    routes:
      - {name: inherits, match: {path: /1}}
      - name: own
        match: {path: /2}
        timeout: {idle: 3}
        max_body: 0
        retry: {attempts: 0}
        compression: {enabled: false}
  - name: b
    endpoints: [https://b, {url: "https://[::1]:8443", weight: 5}, unix:/run/b.sock]
    balancer: round_robin
    routes:
      - {name: from-gateway, match: {path: /3}, destinations: [{service_name: a, weight: 3}, {service_name: b}]}
"""


def resolved() -> ResolvedConfig:
    config = load_text(TEXT).config
    assert config is not None
    return config


def test_the_nearest_level_wins_whole() -> None:
    inherits, own, from_gateway = resolved().routes
    assert inherits.timeout == Timeouts(connect=2)
    assert own.timeout == Timeouts(idle=3)
    assert from_gateway.timeout == Timeouts(connect=1)
    assert (inherits.max_body, own.max_body, from_gateway.max_body) == (2, 0, 1)
    assert (inherits.retry.attempts, own.retry.attempts, from_gateway.retry.attempts) == (7, 0, 2)
    assert inherits.headers is not None
    assert from_gateway.headers is not None
    assert (inherits.headers.request.set, inherits.headers.response.remove) == ({}, ["Server"])
    assert from_gateway.headers.request.set == {"X-Level": "gateway"}
    assert inherits.compression is not None
    assert own.compression is not None
    assert (inherits.compression.min_size, own.compression.enabled, own.compression.min_size) == (1, False, 1024)


def test_routes_keep_their_place_and_go_to_their_own_service() -> None:
    routes = resolved().routes
    assert [(route.name, route.service, route.order) for route in routes] == [
        ("inherits", "a", 0),
        ("own", "a", 1),
        ("from-gateway", "b", 2),
    ]
    assert routes[0].destinations == (Destination(service_name="a", weight=100),)
    assert [(each.service_name, each.weight) for each in routes[2].destinations] == [("a", 3), ("b", 100)]
    assert routes[0].settings.match.path is not None
    assert routes[0].settings.match.path.prefix == "/1"


def test_endpoints() -> None:
    a, b = resolved().services
    assert a.endpoints == (Endpoint("a:8001", "http", "a", 8001, "", "/base", 1),)
    assert b.endpoints == (
        Endpoint("b:443", "https", "b", 443),
        Endpoint("[::1]:8443", "https", "[::1]", 8443, weight=5),
        Endpoint("unix:/run/b.sock", "http", "localhost", 80, "/run/b.sock"),
    )
    assert a.balancer == b.balancer == RoundRobinSettings()


def test_the_limit_of_a_service() -> None:
    limited = Service(name="a", rate_limit=ServiceRateLimit(requests=500, window=10, exact="fitting"))
    off = Service(name="b", rate_limit=ServiceRateLimit(enabled=False))
    one, other = resolve(Config(services=[limited, off])).services
    assert one.rate_limit == Limit(name="a", key=["service"], requests=500, window=10, exact="fitting")
    assert other.rate_limit is None


def test_the_result_can_be_sent_to_a_worker() -> None:
    config = resolved()
    assert pickle.loads(pickle.dumps(config)) == config


def test_objects_of_the_schema_resolve_without_a_file() -> None:
    config = resolve(
        Config(services=[Service(name="a", endpoints=[EndpointSetting(url="http://a")], routes=[Route(name="r")])])
    )
    assert config.services[0].endpoints[0].name == "a:80"
    assert config.workers == "auto"


def test_a_worker_loads_no_library_of_the_loader() -> None:
    code = "import sys, headgate.config.resolve; print({'pydantic', 'yaml', 'fastapi'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_callers_must_show_who_they_are_as_soon_as_some_way_is_there() -> None:
    assert default_auth(IdentitySettings()).mode == "none"
    assert default_auth(IdentitySettings(api_keys=ApiKeys(enabled=False))).mode == "none"
    assert default_auth(IdentitySettings(api_keys=ApiKeys())).mode == "required"
    assert default_auth(IdentitySettings(jwt=[JwtIssuer()])).mode == "required"


def test_our_own_page_is_read_under_its_own_policy() -> None:
    text = """
security_headers: {preset: api, content_security_policy: "default-src 'self'"}
surface:
  - {path: /docs, view: docs}
  - {path: /mine, view: docs, body: "<p>{{ version }}</p>", content_type: text/html}
  - {path: /status, view: status}
"""
    config = load_text(text).config
    assert config is not None
    policies = [each.security_headers and each.security_headers.content_security_policy for each in config.own_routes]
    assert policies == ["", "default-src 'self'", "default-src 'self'"]
