"""The configurations the peers get, as far as they can be checked without the peers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import configs
from bench.configs import Certificate, Setting

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


def test_options_of_a_subject_reach_headgate_alone() -> None:
    asked = setting(options=(("max_body", 5),))
    assert json.loads(configs.headgate_conf(asked))["max_body"] == 5
    assert configs.envoy_conf(asked) == configs.envoy_conf(setting())
