"""Files, folders, environment and command line together; and that nothing a file holds raises."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.json_schema import json_schema
from headgate.config.loader import LoadResult, load
from headgate.config.problems import render, to_json
from tests.config.golden import load_text, said

# The example of the service mesh whose configuration Headgate has to read word for word.
SERVICE_MESH = """
services:
  - name: api-gateway
    circuit_breaker:
      enabled: true
      threshold: 5
      timeout: 30
    rate_limit:
      enabled: true
      requests: 100
      window: 60
    routes:
      - name: api-gateway-route
        match:
          path: /api
          method: GET
        destinations:
          - service_name: api-gateway
            weight: 100
"""


def test_the_service_mesh_example_loads() -> None:
    result = load_text(SERVICE_MESH)
    assert result.config is not None
    (route,) = result.config.routes
    assert (route.name, route.service, route.destinations[0].weight) == ("api-gateway-route", "api-gateway", 100)
    assert said(result) == [
        'gw.yaml:3:5: warning: services[api-gateway]: the service "api-gateway" has no endpoints and answers 503'
        " - give it a url or endpoints",
    ]


def test_the_example_of_the_design_loads() -> None:
    text = """
listen: [{address: 0.0.0.0:8080}]
admin: {address: 127.0.0.1:8081, token: ${HEADGATE_ADMIN_TOKEN:-}, expose: [/health, /ready]}
workers: auto
services:
  - name: chat
    endpoints: [http://10.0.0.1:8001, {url: http://10.0.0.2:8001, weight: 3}]
    balancer: {type: round_robin}
    health: {path: /health, interval: 30}
    circuit_breaker: {enabled: true, threshold: 5, success_threshold: 2, timeout: 30}
    rate_limit: {enabled: true, requests: 100, window: 60}
    retry: {attempts: 2}
    timeout: {connect: 2, response: 30, idle: 60}
    routes:
      - name: chat-route
        match: {path: /api/v1/chat, method: POST}
        destinations: [{service_name: chat, weight: 90}, {service_name: chat-canary, weight: 10}]
        rewrite: {strip_prefix: /api/v1/chat}
  - {name: chat-canary, url: http://10.0.0.3:8001}
"""
    assert load_text(text).problems == []


def test_nothing_at_all_is_a_configuration() -> None:
    result = load([], environ={})
    assert result.config is not None
    assert result.config.listeners[0].address == "0.0.0.0:8080"
    assert (result.problems, result.notices, result.files) == ([], [], [])


def test_files_and_folders_are_read_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (tmp_path / "base.yaml").write_text("workers: 1\nservices: [{name: a, url: 'http://a'}]")
    (folder / "20.json").write_text('{"workers": 3}')
    (folder / "10.yml").write_text("workers: 2\nservices: [{name: a, max_body: 5}]")
    (folder / "30.txt").write_text("workers: 4")
    (folder / ".hidden.yaml").write_text("workers: 5")
    (folder / "folder.yaml").mkdir()
    (folder / "empty.yaml").write_text("# nothing\n")
    result = load([tmp_path / "base.yaml", folder], environ={})
    assert result.config is not None
    assert result.source is not None
    assert result.config.workers == 3
    assert (result.source.services[0].url, result.source.services[0].max_body) == ("http://a", 5)
    assert [file.name for file in result.files] == ["base.yaml", "10.yml", "20.json", "empty.yaml"]
    assert str(result.origins.at(("workers",))) == f"{folder / '20.json'}:1:13"


def lines(result: LoadResult, folder: Path) -> list[str]:
    return [str(problem).replace(f"{folder}/", "") for problem in result.problems]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"workers: 2\nadmin: {token: caf\xe9}")
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfworkerss: 2")
    names = ["no.yaml", "empty", "latin.yaml", "bom.yaml"]
    result = load([tmp_path / name for name in names], environ={})
    assert result.config is None
    assert lines(result, tmp_path) == [
        'bom.yaml:1:1: error: workerss: unknown key - did you mean "workers"?',
        "latin.yaml:2:19: error: the file is not UTF-8 text",
        "empty: error: the folder holds no configuration - files end in .yaml, .yml, .json",
        "no.yaml: error: there is no such file",
    ]


def test_a_broken_file_hides_no_mistake_of_another(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("services: [")
    (tmp_path / "b.yaml").write_text("worker: 1\nservices: [{name: b, routes: [{name: r, mirror: {service_name: a}}]}]")
    assert lines(load([tmp_path], environ={}), tmp_path) == [
        "a.yaml:2:1: error: not valid YAML: expected a value here - is a bracket not closed?",
        'b.yaml:1:1: error: worker: unknown key - did you mean "workers"?',
    ]


def test_keys_of_ones_own_hold_anchors() -> None:
    text = "x-limits: &limits {connect: 1}\nservices: [{name: a, url: 'http://a', timeout: *limits}]"
    source = load_text(text).source
    assert source is not None
    assert source.services[0].timeout is not None
    assert source.services[0].timeout.connect == 1


def test_secrets_are_in_no_message() -> None:
    text = """
admin: {token: "hunter2 hunter2", address: "${SECRET}", expose: ["${SECRET}"]}
forwarding: {trust: ["${SECRET}"], via: "${SECRET}"}
services:
  - name: "${SECRET}"
    url: "http://${SECRET}"
    tls: {cert: "${SECRET}", key: "${SECRET}", ca: "${SECRET}"}
    health_path: "${SECRET}"
    routes:
      - name: "${SECRET}"
        match: {path: "${SECRET}", host: "${SECRET}", method: "${SECRET}", headers: {A: {regex: "(${SECRET}"}}}
        destinations: [{service_name: "x${SECRET}"}, {service_name: "x${SECRET}"}]
        rewrite: {strip_prefix: "${SECRET}", host: "${SECRET}"}
        headers: {request: {remove: ["${SECRET}"], set: {X-A: "${SECRET}"}}}
        redirect: "${SECRET}"
        upgrade: "${SECRET}"
        max_body: "${SECRET}"
"""
    secret = "s3cret words\n\t{of} mine"
    result = load_text(text, "http.buffer=${SECRET}", environ={"SECRET": secret})
    everything = render([*result.problems, *result.notices]) + json.dumps(to_json(result.problems))
    assert len(result.problems) > 15
    for part in ("s3cret", "words", "mine", "hunter2"):
        assert part not in everything


LANGUAGE = sorted(
    {word for each in [json_schema(), *json_schema()["$defs"].values()] for word in each.get("properties", ())}
)
DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["/a", "chat", "${X}", "1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(LANGUAGE) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=40,
)


@given(DATA | st.dictionaries(st.sampled_from(sorted(json_schema()["properties"])), DATA, min_size=1))
def test_any_data_gives_a_configuration_or_problems(data: object) -> None:
    result = load_text(yaml.safe_dump(data, allow_unicode=True), environ={"X": "5"})
    assert (result.config is None) == bool(result.problems)
    assert all(problem.severity == "error" for problem in result.problems)
    assert all(problem.severity == "warning" for problem in result.notices)
    to_json(result.problems)


@given(st.text(max_size=60))
def test_any_text_of_the_command_line_gives_a_configuration_or_problems(text: str) -> None:
    result = load([], overrides=[text], environ={})
    assert (result.config is None) == bool(result.problems)
