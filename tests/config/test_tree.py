"""What a scalar means for the setting it belongs to, aliases of keys, positions and paths."""

from __future__ import annotations

import pytest

from headgate.config.problems import Problem
from headgate.config.schema import Config
from headgate.config.shape import root_shape
from headgate.config.tree import find, path_text, plain, with_names
from headgate.config.yaml_nodes import Map, read_yaml
from tests.config.golden import ENVIRON, load_text

ROOT = root_shape(Config)


def tree(text: str) -> Map:
    root, wrong = read_yaml(text, "gw.yaml", ENVIRON)
    assert not wrong
    assert isinstance(root, Map)
    return root


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("admin: {token: 12345}", {"admin": {"token": "12345"}}),
        ("admin: {token: 1.10}", {"admin": {"token": "1.10"}}),
        ("admin: {token: true}", {"admin": {"token": "true"}}),
        ("admin: {token: ${NUMBER}}", {"admin": {"token": "8080"}}),
        ("admin: {token: ${EMPTY}}", {"admin": {}}),
        ("workers: ${NUMBER}", {"workers": 8080}),
        ('workers: "${NUMBER}"', {"workers": 8080}),
        ('workers: "${MISSING:-4}"', {"workers": 4}),
        ('workers: "4"', {"workers": "4"}),
        ("http: {merge_slashes: ${FLAG}}", {"http": {"merge_slashes": True}}),
        ("listen: [8080]", {"listen": ["8080"]}),
        ("services:\nlisten: ~", {}),
        ("errors: {body: {a: 1, b: ~, c: 'x'}}", {"errors": {"body": {"a": 1, "b": None, "c": "x"}}}),
        (
            "headers: {request: {set: {X-A: 1, X-B: true}}}",
            {"headers": {"request": {"set": {"X-A": "1", "X-B": "true"}}}},
        ),
    ],
)
def test_the_setting_decides_what_a_scalar_is(text: str, data: object) -> None:
    assert plain(tree(text), ROOT) == data


def test_an_alias_becomes_the_name_and_keeps_its_place() -> None:
    root = tree("services:\n  - name: a\n    circuit_breaker:\n      failure_threshold: 3\n")
    problems: list[Problem] = []
    named = with_names(root, ROOT, (), root, problems)
    node, at = find(named, ("services", 0, "circuit_breaker", "threshold"))
    assert problems == []
    assert node is not None
    assert str(at) == "gw.yaml:4:26"


def test_a_tree_without_aliases_is_not_copied() -> None:
    root = tree("services: [{name: a, circuit_breaker: {threshold: 3}}]")
    assert with_names(root, ROOT, (), root, []) is root


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("services", 0, "routes", 1, "match", "path"), "services[chat].routes[1].match.path"),
        (("services", 0, "headers", "X-A"), "services[chat].headers[X-A]"),
        (("services", 7, "name"), "services[7].name"),
        ((), ""),
    ],
)
def test_paths_name_the_items(path: tuple[str | int, ...], text: str) -> None:
    assert path_text(tree("services: [{name: chat, routes: [{name: ${WORD}}, {name: ${WORD}}]}]"), path) == text


def test_the_nearest_written_thing_is_found_for_what_was_not_written() -> None:
    root = tree("services:\n  - name: a\n    health: /up\n")
    assert str(find(root, ("services", 0, "health", "path"))[1]) == "gw.yaml:3:13"
    assert str(find(root, ("services", 0, "retry", "attempts"))[1]) == "gw.yaml:2:5"
    assert str(find(root, ("admin",))[1]) == "gw.yaml:1:1"


def test_origins_of_every_value() -> None:
    result = load_text("workers: 2\nadmin: {token: hush}\nforwarding: {via: ${WORD}}", "http.max_headers=5")
    assert [(each.path, each.value, str(each.origin)) for each in result.origins.written()] == [
        ("workers", "2", "gw.yaml:1:10"),
        ("admin.token", "***", "gw.yaml:2:16"),
        ("forwarding.via", "${WORD}", "gw.yaml:3:19"),
        ("http.max_headers", "5", "--set http.max_headers"),
    ]
    assert str(result.origins.at(("workers",))) == "gw.yaml:1:10"
    assert result.origins.at(("services",)) is None
