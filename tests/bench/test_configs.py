"""The configurations the peers get, as far as they can be checked without the peers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import configs, policies
from bench.configs import Certificate, Setting
from bench.peers import PEERS
from bench.policies import ENDPOINTS, Policies
from headgate.config.declarations import Layer
from headgate.config.loader import load
from tests.control.driver import CEILING

TLS = Certificate(Path("/f/cert.pem"), Path("/f/key.pem"), Path("/f/both.pem"))


def setting(**changes: object) -> Setting:
    values: dict[str, object] = {"port": 1, "admin_port": 2, "upstream": 3, "folder": Path("/f"), **changes}
    return Setting(**values)  # type: ignore[arg-type]


def test_headgate_gets_listener_service_and_log() -> None:
    found = json.loads(configs.headgate_conf(setting()))
    assert found["listen"] == [{"address": "127.0.0.1:1"}]
    assert found["admin"] == {"address": "127.0.0.1:2"}
    assert found["services"][0]["url"] == "http://127.0.0.1:3"
    assert found["services"][0]["routes"] == [{"name": "all", "match": {"path": "/"}}]
    assert found["telemetry"]["access_log"]["path"] == "/f/access.log"


def test_headgate_routes_are_distinct_and_one_in_four_is_a_template() -> None:
    routes = json.loads(configs.headgate_conf(setting(routes=1000)))["services"][0]["routes"]
    assert len({json.dumps(route["match"]) for route in routes}) == 1000
    assert sum(isinstance(route["match"]["path"], dict) for route in routes) == 250
    for number, route in enumerate(routes):
        path = route["match"]["path"]
        start = path["template"].replace("/{what}", "/") if isinstance(path, dict) else path
        assert configs.route_path(number).startswith(start)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        (configs.nginx_conf(setting(certificate=TLS), ""), "ssl_certificate /f/cert.pem"),
        (configs.haproxy_conf(setting(certificate=TLS)), "ssl crt /f/both.pem"),
        (configs.envoy_conf(setting(certificate=TLS)), "/f/cert.pem"),
        (configs.headgate_conf(setting(certificate=TLS)), "/f/cert.pem"),
    ],
)
def test_every_peer_speaks_tls_when_asked(text: str, mark: str) -> None:
    assert mark in text


def test_over_http2_everybody_is_asked_by_prior_knowledge() -> None:
    asked = setting(http2=True)
    assert "listen 127.0.0.1:1 http2 " in configs.nginx_conf(asked, "")
    assert "bind 127.0.0.1:1 proto h2 " in configs.haproxy_conf(asked)
    # Envoy tells by the first bytes, as Headgate does.
    assert "codec_type" not in configs.envoy_conf(asked)
    assert json.loads(configs.headgate_conf(asked))["listen"] == [{"address": "127.0.0.1:1"}]


@pytest.mark.parametrize(
    ("write", "mark"),
    [
        (lambda asked: configs.nginx_conf(asked, ""), "proxy_cache answers; proxy_cache_valid 200 3600s;"),
        (configs.haproxy_conf, "http-request cache-use answers"),
        (configs.headgate_conf, '"ttl": 3600'),
    ],
    ids=["nginx", "haproxy", "headgate"],
)
def test_answers_are_cached_where_a_subject_wants_it(write: Callable[[Setting], str], mark: str) -> None:
    assert mark in write(setting(cached=True))
    assert mark not in write(setting())
    result = load([], environ={}, layers=[Layer("bench", configs.headgate_conf(setting(cached=True)))])
    assert result.config is not None
    assert result.config.routes[0].cache is not None


def test_options_of_a_subject_reach_headgate_alone() -> None:
    asked = setting(options=(("max_body", 5),))
    assert json.loads(configs.headgate_conf(asked))["max_body"] == 5
    assert configs.envoy_conf(asked) == configs.envoy_conf(setting())


def test_without_policies_nobody_has_any() -> None:
    bare = setting()
    assert "stick-table" not in configs.haproxy_conf(bare)
    assert "local_ratelimit" not in configs.envoy_conf(bare)
    assert json.loads(configs.headgate_conf(bare)).keys().isdisjoint({"limits", "store"})


def test_with_policies_everybody_has_all_endpoints_and_the_same_limit() -> None:
    full = setting(policies=Policies())
    for text in (configs.haproxy_conf(full), configs.envoy_conf(full), configs.headgate_conf(full)):
        assert all(host in text for host in ENDPOINTS)
        assert str(policies.REQUESTS) in text


def test_the_limit_is_what_a_subject_varies() -> None:
    without = json.loads(configs.headgate_conf(setting(policies=Policies(""))))
    redis = json.loads(configs.headgate_conf(setting(policies=Policies("redis"), redis=4)))
    keyed = json.loads(configs.headgate_conf(setting(policies=Policies(keys=9))))
    assert without["services"] == redis["services"] == keyed["services"]
    assert without.keys().isdisjoint({"limits", "store"})
    assert redis["store"] == {"type": "redis", "url": "redis://127.0.0.1:4/0"}
    assert keyed["limits"][0]["key"] == "header:X-Key"


@pytest.mark.parametrize("asked", [Policies(), Policies(""), Policies("redis"), Policies(keys=1_000_000)])
def test_headgate_takes_its_policies_without_a_warning(asked: Policies) -> None:
    text = configs.headgate_conf(setting(policies=asked, redis=6379))
    assert load([], environ={}, layers=[Layer("bench", text)]).problems == []


CHECKS = {"haproxy": ["-c"], "envoy": ["--mode", "validate"]}


@pytest.mark.parametrize("asked", [None, Policies()], ids=["bare", "policies"])
@pytest.mark.parametrize("name", CHECKS)
def test_a_peer_takes_its_configuration(name: str, asked: Policies | None, tmp_path: Path) -> None:
    peer = PEERS[name]
    if peer.version() is None:
        pytest.skip(f"{peer.title} is missing: {peer.install}")
    command = peer.command(replace(setting(policies=asked), port=18080, upstream=18090, folder=tmp_path))
    done = subprocess.run([*command, *CHECKS[name]], capture_output=True, text=True, timeout=CEILING, check=False)
    assert done.returncode == 0, done.stderr
    assert "ALERT" not in done.stderr
    assert "WARNING" not in done.stderr
