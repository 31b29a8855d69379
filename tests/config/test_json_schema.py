"""The schema for editors: it takes what the loader takes, and knows the keys, words and bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from headgate.config.environment import hide, show
from headgate.config.examples import EXAMPLES
from headgate.config.json_schema import json_schema, plain_default
from headgate.config.loader import load
from headgate.config.schema import Config
from headgate.wire.settings import Timeouts
from tests.config.golden import ENVIRON, cases, load_text
from tests.config.test_loader import SERVICE_MESH

ROOT = Path(__file__).resolve().parents[2]
VALIDATOR = Draft202012Validator(json_schema())
FILES = sorted((ROOT / "examples").glob("*.yaml"))


def shown(data: Any, shift: int) -> Any:
    if isinstance(data, dict):
        return {key: shown(value, shift) for key, value in data.items()}
    if isinstance(data, list):
        return [shown(value, shift) for value in data]
    return show(data, shift) if isinstance(data, str) else data


class Editor(yaml.SafeLoader):
    """Editors go by YAML 1.2, where `on` is text."""

    yaml_implicit_resolvers = {
        first: [each for each in resolvers if first in "tTfF" or each[0] != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def errors(text: str) -> list[str]:
    # Editors read `{token: ${TOKEN}}` as we do once the braces are hidden.
    hidden, shift = hide(text)
    return [error.json_path for error in VALIDATOR.iter_errors(shown(yaml.load(hidden, Editor), shift))]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("text", [*EXAMPLES.values(), SERVICE_MESH], ids=[*EXAMPLES, "service-mesh"])
def test_it_takes_every_example_of_the_reference(text: str) -> None:
    assert errors(text) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_example_files_load_and_fit(file: Path) -> None:
    assert errors(file.read_text()) == []
    assert load([file], environ={}).problems == []


def test_the_quickstart_is_short_and_leads_editors_to_the_schema() -> None:
    lines = (ROOT / "examples" / "quickstart.yaml").read_text().splitlines()
    assert len(lines) <= 10
    assert lines[0] == "# yaml-language-server: $schema=../docs/headgate.schema.json"


@pytest.mark.parametrize(
    "text",
    [
        "workers: 2",
        "workers: ${WORKERS}",
        "workers: auto",
        "x-mine: {a: 1}",
        "http: {merge_slashes: ${FLAG:-true}, buffer: 64KiB, header_timeout: 500ms, max_headers: }",
        "services:",
        "admin: {token: 12345}",
        "listen: [{address: '127.0.0.1:80', tls: {min_version: 1.2, cert: a, key: b}}]",
        "services: [{name: a, balancer: {type: round_robin}}, {name: b, balancer: round_robin}]",
        "services: [{name: a, circuit_breaker: {failure_threshold: 3}}]",
    ],
)
def test_it_takes_what_the_loader_takes(text: str) -> None:
    assert errors(text) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("worker: 2", "$"),
        ("workers: many", "$.workers"),
        ("http: {merge_slashes: on the road}", "$.http"),
        ("http: {underscores: dropp}", "$.http"),
        ("http: {max_headers: 0}", "$.http"),
        ("http: {header_timeout: 5 seconds}", "$.http"),
        ("services: [{url: http://a}]", "$.services"),
        ("services: [{name: a, routes: [{name: b, match: {pth: /}}]}]", "$.services"),
        ("services: [{name: a, balancer: fastest}]", "$.services"),
        ("errors: {origins: {clint: {}}}", "$.errors"),
    ],
)
def test_it_refuses_what_the_loader_refuses(text: str, path: str) -> None:
    assert errors(text) == [path]
    assert load_text(text).problems != []


@pytest.mark.parametrize("table", ["validate", "checks", "check_routes", "check_wire"])
def test_it_refuses_nothing_that_loads(table: str) -> None:
    good = [case for case in cases(table) if load_text(case.yaml, environ=ENVIRON).config is not None]
    for case in good:
        assert errors(case.yaml) == [], case.title


def test_defaults_are_plain_and_short() -> None:
    assert plain_default(Config()) == {}
    assert plain_default(Timeouts(connect=3)) == {"connect": 3}
    assert json_schema()["properties"]["listen"]["default"] == [{"address": "0.0.0.0:8080"}]
