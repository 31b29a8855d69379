"""What is said about types, bounds, required and unknown keys, and what is left when the wrong things are out."""

from __future__ import annotations

import pytest

from headgate.config.tree import damaged_below, plain
from headgate.config.validate import validate, without
from headgate.config.yaml_nodes import Map, read_yaml
from tests.config.golden import Case, cases, check_case


@pytest.mark.parametrize("case", cases("validate"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)


def tree(text: str) -> Map:
    root, wrong = read_yaml(text, "gw.yaml", {})
    assert isinstance(root, Map)
    assert not wrong
    return root


def test_the_rest_is_kept_for_the_checks_of_meaning() -> None:
    validated = validate(tree("workers: many\nhttp: {max_headers: 5, buffer: tiny}\nservices: [{nam: a}, {name: b}]"))
    assert len(validated.problems) == 4
    assert validated.config is not None
    assert validated.config.workers == "auto"
    assert validated.config.http.max_headers == 5
    assert [service.name for service in validated.config.services] == ["b"]


def test_what_was_taken_out_leaves_a_mark() -> None:
    root = tree("a: {b: [1, 2, 3], c: 4}\nd: {e: 5}")
    pruned = without(root, [("a", "b", 1), ("a", "b", 1)])
    assert plain(pruned, None) == {"a": {"b": [1, 3], "c": 4}, "d": {"e": 5}}
    assert plain(root, None) == {"a": {"b": [1, 2, 3], "c": 4}, "d": {"e": 5}}
    assert damaged_below(pruned.items["a"])
    assert not damaged_below(pruned.items["d"])
    assert not damaged_below(root)


def test_a_key_that_was_taken_out_is_not_reported_as_missing() -> None:
    root = tree("services: [{name: a, endpoints: [{url: http://a}]}]")
    pruned = without(root, [("services", 0, "endpoints", 0, "url")])
    assert validate(pruned).problems == []
