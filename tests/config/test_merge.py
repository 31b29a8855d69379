"""Several files and the command line into one configuration."""

from __future__ import annotations

import pytest

from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.merge import merge
from headgate.config.tree import plain
from headgate.config.yaml_nodes import read_yaml
from tests.config.golden import Case, cases, check_case, load_text


@pytest.mark.parametrize("case", cases("merge"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ("{a: 1, b: 2}", "{b: 3, c: 4}", {"a": 1, "b": 3, "c": 4}),
        ("{a: {b: 1, c: 2}}", "{a: {b: 3}}", {"a": {"b": 3, "c": 2}}),
        ("{a: {b: 1}}", "{a: text}", {"a": "text"}),
        ("{a: text}", "{a: {b: 1}}", {"a": {"b": 1}}),
        ("{a: 1}", "{a: }", {"a": None}),
        ("{a: [1, 2]}", "{a: [3]}", {"a": [3]}),
        ("{a: [{x: 1}]}", "{a: [{x: 2}]}", {"a": [{"x": 2}]}),
        (
            "{a: [{name: x, v: 1, w: 2}, {name: y}]}",
            "{a: [{name: z}, {name: x, v: 3}]}",
            {"a": [{"name": "x", "v": 3, "w": 2}, {"name": "y"}, {"name": "z"}]},
        ),
        ("{a: [{name: x}]}", "{a: []}", {"a": []}),
        ("{a: [{name: x}]}", "{a: [{nam: x}]}", {"a": [{"nam": "x"}]}),
        ("{a: []}", "{a: [{name: x}]}", {"a": [{"name": "x"}]}),
        # A name that stands twice in one file stays twice, for the checks to find.
        (
            "{a: [{name: x, v: 1}]}",
            "{a: [{name: x, v: 2}, {name: x, v: 3}]}",
            {"a": [{"name": "x", "v": 2}, {"name": "x", "v": 3}]},
        ),
    ],
)
def test_merge(base: str, over: str, merged: object) -> None:
    first, _ = read_yaml(base, "base", {})
    second, _ = read_yaml(over, "over", {})
    assert first is not None
    assert second is not None
    before = plain(first, None)
    assert plain(merge(first, second), None) == merged
    assert plain(first, None) == before


SERVICE = """
services:
  - name: chat
    url: http://a
    health: /up
    routes:
      - {name: one, match: {path: /a}}
"""


def test_the_command_line_reaches_every_value() -> None:
    source = load_text(
        SERVICE,
        "services.chat.timeout.connect=5",
        "services[chat].health.interval=10s",
        "services.0.routes.one.match.path={exact: /b}",
        "services.chat.routes[0].match.method=[GET, POST]",
        "services.chat.routes[0].match.host.0=example.com",
        "services.chat.circuit_breaker.failure_threshold=7",
        "services.1={name: new, url: 'http://b'}",
        "headers.request.set.X-A=1=2",
        "workers=3",
        "workers=4",
        "admin.token=",
    ).source
    assert source is not None
    chat, new = source.services
    route = chat.routes[0]
    assert chat.timeout is not None
    assert chat.health is not None
    assert chat.circuit_breaker is not None
    assert route.match.path is not None
    assert source.headers is not None
    assert chat.timeout.connect == 5
    assert (chat.health.path, chat.health.interval) == ("/up", 10)
    assert (route.match.path.exact, route.match.path.prefix) == ("/b", None)
    assert (route.match.method, route.match.host) == (["GET", "POST"], ["example.com"])
    assert chat.circuit_breaker.threshold == 7
    assert new.name == "new"
    assert source.headers.request.set == {"X-A": "1=2"}
    assert (source.workers, source.admin.token) == (4, "")


def test_later_sources_win() -> None:
    layers = [Layer("preset", "workers: 1\nmax_body: 1\nroute_order: file"), Layer("user", "workers: 2\nmax_body: 2")]
    config = load([], layers=layers, overrides=["workers=3"], environ={}).config
    assert config is not None
    assert (config.workers, config.route_order) == (3, "file")


def test_parts_of_one_service_may_come_from_two_files() -> None:
    layers = [
        Layer("one", "services: [{name: a, circuit_breaker: {failure_threshold: 9}}]"),
        Layer("two", "services: [{name: a, url: 'http://a', circuit_breaker: {threshold: 2}}]"),
    ]
    source = load([], layers=layers, environ={}).source
    assert source is not None
    assert source.services[0].circuit_breaker is not None
    assert source.services[0].circuit_breaker.threshold == 2


@pytest.mark.parametrize("said", ["url: 'http://b'", "endpoints: ['http://b']", "discovery: {type: dns, name: b}"])
def test_where_a_service_runs_is_what_the_later_source_says_in_whatever_words(said: str) -> None:
    for below in ("url: 'http://a'", "endpoints: ['http://a', 'http://c']", "discovery: {type: dns, name: a}"):
        written = f"services: [{{name: x, {below}, health: /up}}]", f"services: [{{name: x, {said}, health_path: /ok}}]"
        result = load([], layers=[Layer("one", written[0]), Layer("two", written[1])], environ={})
        assert (result.problems, result.notices) == ([], [])
        assert result.config is not None
        service = result.config.services[0]
        assert service.health is not None
        assert service.health.path == "/ok"
        discovery = service.discovery
        assert [each.host for each in service.endpoints] == ([] if discovery is not None else ["b"])
        assert getattr(discovery, "name", "b") == "b"
