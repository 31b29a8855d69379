"""Ties and shadowed routes: cases by hand, and that what is reported as unreachable never wins."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.match import Match, PathMatch, ValueMatch
from headgate.policy.overlap import lint
from headgate.policy.route import Matched, RouteRule, RouteTable
from tests.policy.test_route import REQUESTS, TABLES, Request, path, raw

ONE = ValueMatch(exact="1")


def rules(*matches: Match) -> list[RouteRule[int]]:
    return [RouteRule("abcd"[place], match, place, place) for place, match in enumerate(matches)]


def found(*matches: Match, order: Any = "specific") -> list[tuple[str, str, str]]:
    return [overlap[:3] for overlap in lint(rules(*matches), order)]


TIES: list[tuple[tuple[Match, ...], list[tuple[str, str, str]]]] = [
    ((Match(path=path("/a")), Match(path=path("/a/"))), [("tie", "b", "a")]),
    ((Match(path=path("/a")), Match(path=path("template /a/{x}"))), [("tie", "b", "a")]),
    ((Match(path=path("template /a/{x}/b")), Match(path=path("template /a/{y}/b"))), [("tie", "b", "a")]),
    ((Match(path=path("regex /a.*")), Match(path=path("regex /a.*"))), [("tie", "b", "a")]),
    ((Match(headers={"X": ONE}), Match(headers={"x": ONE})), [("tie", "b", "a")]),
    ((Match(host=["h", "i"]), Match(host=["i", "j"])), [("tie", "b", "a")]),
    ((Match(method=["GET", "PUT"]), Match(method=["PUT", "POST"])), [("tie", "b", "a")]),
    ((Match(method=["GET", "PUT"]), Match(method=["PUT"])), [("shadowed", "b", "a")]),
    (
        (Match(method=["GET"]), Match(method=["PUT"]), Match(method=["PUT", "GET"])),
        [("shadowed", "c", "a"), ("shadowed", "c", "b")],
    ),
    ((Match(path=path("/a")), Match(path=path("/b"))), []),
    ((Match(path=path("/a")), Match(path=path("exact /a"))), []),
    ((Match(), Match(method=["GET"])), []),
    ((Match(), Match(path=path("/a"))), []),
    ((Match(host=["h"]), Match(host=["i"])), []),
    ((Match(method=["GET"]), Match(method=["PUT"])), []),
    ((Match(headers={"x": ONE}), Match(query={"x": ONE})), []),
]


@pytest.mark.parametrize(("matches", "expected"), TIES)
def test_ties_and_shadows_of_the_specific_order(
    matches: tuple[Match, ...], expected: list[tuple[str, str, str]]
) -> None:
    assert found(*matches) == expected


SHADOWS = [
    (Match(), Match(path=path("/a")), True),
    (Match(), Match(path=path("regex /a.*")), True),
    (Match(), Match(host=["h"], path=path("exact /a"), method=["GET"]), True),
    (Match(path=path("/a")), Match(path=path("exact /a/b")), True),
    (Match(path=path("/a")), Match(path=path("regex /a/[0-9]+")), True),
    (Match(path=path("/a/b")), Match(path=path("/a")), False),
    (Match(path=path("template /{x}/b")), Match(path=path("exact /a/b")), True),
    (Match(path=path("template /{x}/b")), Match(path=path("exact //b")), False),
    (Match(path=path("template /{x}/{y}")), Match(path=path("exact /")), False),
    (Match(path=path("template /{x}/b/{y}")), Match(path=path("template /a/{z}/{y}")), False),
    (Match(path=path("exact /a")), Match(path=path("/a")), False),
    (Match(host=["*.example.com"]), Match(host=["a.b.example.com"]), True),
    (Match(host=["*.example.com"]), Match(host=["*.b.example.com"]), True),
    (Match(host=["*.example.com"]), Match(host=["example.com"]), False),
    (Match(host=["*.example.com"]), Match(host=["a.example.com", "other"]), False),
    (Match(method=["GET", "PUT"]), Match(path=path("/a"), method=["GET"]), True),
    (Match(method=["GET"]), Match(path=path("/a")), False),
    (Match(headers={"x": ONE}), Match(path=path("/a"), headers={"X": ONE, "y": ONE}), True),
    (Match(headers={"x": ONE}), Match(path=path("/a")), False),
]


@pytest.mark.parametrize(("first", "second", "shadowed"), SHADOWS)
def test_in_file_order_a_wider_route_shadows_what_follows(first: Match, second: Match, shadowed: bool) -> None:
    assert found(first, second, order="file") == ([("shadowed", "b", "a")] if shadowed else [])


def test_the_sentences_name_both_routes() -> None:
    first, second = Match(path=path("/a"), method=["GET", "PUT"]), Match(path=path("/a"), method=["PUT", "POST"])
    assert [overlap.message for overlap in lint(rules(first, first, second))] == [
        "route b is never reached: a has the same host, path and criteria, and stands earlier in the file",
        "routes a and c have the same host, path and criteria for PUT: a wins, because it stands earlier in the file",
    ]
    assert [overlap.message for overlap in lint(rules(Match(), Match(path=path("/a"))), "file")] == [
        "route b is never reached: a takes every request that it matches, and stands earlier in the file"
    ]


def test_criteria_are_compared_as_sets_also_when_they_are_many() -> None:
    many = {f"x{at}": ONE for at in range(9)}
    assert found(Match(headers={"x0": ONE}), Match(headers=many), order="file") == [("shadowed", "b", "a")]
    assert found(Match(headers=many), Match(headers=dict(reversed(many.items())))) == [("tie", "b", "a")]
    assert found(Match(headers=many), Match(headers={"x0": ONE}), order="file") == []


def test_a_large_table_is_checked_in_passing() -> None:
    many = [RouteRule(f"r{n}", Match(path=PathMatch(prefix=f"/svc{n}/v1")), n, n) for n in range(3000)]
    many.append(RouteRule("last", Match(path=PathMatch(exact="/svc7/v1/x")), 0, 3000))
    for order, count in (("specific", 0), ("file", 1)):
        assert len(lint(many, order)) == count  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None)
@given(table=TABLES, requests=st.lists(REQUESTS, max_size=10), order=st.sampled_from(["specific", "file"]))
def test_a_route_reported_as_never_reached_never_wins(
    table: list[RouteRule[int]], requests: list[Request], order: Literal["specific", "file"]
) -> None:
    dead = {overlap.route for overlap in lint(table, order) if "never reached" in overlap.message}
    routes = RouteTable(table, order)
    for request in requests:
        result = routes.match(*raw(request))
        assert not (isinstance(result, Matched) and result.route in dead)
