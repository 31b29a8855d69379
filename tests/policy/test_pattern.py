"""Patterns: which texts are refused and with which words, and what each form matches by itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from headgate.policy.match import Match, PathMatch, ValueMatch
from headgate.policy.pattern import (
    Kind,
    PathPattern,
    check_match,
    conditions_of,
    field_value,
    host_pattern,
    query_value,
)


def L(text: str) -> tuple[Kind, str]:
    return (Kind.LITERAL, text)


END, NAME, REST = (Kind.END, ""), (Kind.NAME, ""), (Kind.REST, "")

STEPS = [
    (None, (REST,)),
    (PathMatch(prefix="/"), (REST,)),
    (PathMatch(prefix="/api"), (L("api"), REST)),
    (PathMatch(prefix="/api/"), (L("api"), REST)),
    (PathMatch(prefix="//api/./v1"), (L("api"), L("v1"), REST)),
    (PathMatch(prefix="/caf%c3%a9"), (L("caf%C3%A9"), REST)),
    (PathMatch(prefix="/café au lait"), (L("caf%C3%A9%20au%20lait"), REST)),
    (PathMatch(prefix="/api$"), (L("api"), END)),
    (PathMatch(prefix="/$"), (L(""), END)),
    (PathMatch(prefix="/a.b", segments=False), ((Kind.REGEX, r"/a\.b(?P<path>.*)"),)),
    (PathMatch(prefix="/", segments=False), (REST,)),
    (PathMatch(exact="/"), (L(""), END)),
    (PathMatch(exact="/a/b"), (L("a"), L("b"), END)),
    (PathMatch(exact="/a/b/"), (L("a"), L("b"), L(""), END)),
    (PathMatch(template="/v1/{service}/{path}"), (L("v1"), NAME, REST)),
    (PathMatch(template="/v1/{service}/health"), (L("v1"), NAME, L("health"), END)),
    (PathMatch(template="/users/{id}/"), (L("users"), NAME, L(""), END)),
    (PathMatch(template="/%7euser/{path}"), (L("~user"), REST)),
    (PathMatch(regex="/v1/(?P<x>[a-z]+)/.*"), (L("v1"), (Kind.REGEX, "/v1/(?P<x>[a-z]+)/.*"))),
    (PathMatch(regex="^/v1/chat$"), (L("v1"), (Kind.REGEX, "^/v1/chat$"))),
    (PathMatch(regex="/v1/?"), ((Kind.REGEX, "/v1/?"),)),
    (PathMatch(regex="/a/b|/a/c"), (L("a"), (Kind.REGEX, "/a/b|/a/c"))),
    (PathMatch(regex="/a/b|/c/d"), ((Kind.REGEX, "/a/b|/c/d"),)),
    (PathMatch(regex="(?i)/API/.*"), ((Kind.REGEX, "(?i)/API/.*"),)),
    (PathMatch(regex=".*"), ((Kind.REGEX, ".*"),)),
]


@pytest.mark.parametrize(("path", "steps"), STEPS)
def test_a_path_becomes_steps(path: PathMatch | None, steps: tuple[tuple[Kind, str], ...]) -> None:
    assert PathPattern(path).steps == steps


PROBLEMS = [
    (Match(path=PathMatch()), ("path",), "exactly one of prefix, exact, template, regex; here are 0"),
    (Match(path=PathMatch(prefix="/a", exact="/b")), ("path",), "here are 2"),
    (Match(path=PathMatch(exact="/a", segments=False)), ("path",), "here is none"),
    (Match(path=PathMatch(prefix="$")), ("path",), "must begin with a slash"),
    (Match(path=PathMatch(prefix="api")), ("path",), "must begin with a slash"),
    (Match(path=PathMatch(prefix="/a?b=c")), ("path",), "question mark"),
    (Match(path=PathMatch(exact="/../etc")), ("path",), "climbs above its root"),
    (Match(path=PathMatch(template="v1/{x}")), ("path",), "/v1/{service}/{path}"),
    (Match(path=PathMatch(template="/files/{id}.json")), ("path",), "takes a whole segment"),
    (Match(path=PathMatch(template="/files/{}")), ("path",), "takes a whole segment"),
    (Match(path=PathMatch(template="/a/../{x}")), ("path",), "dot segment"),
    (Match(path=PathMatch(template="/a//{x}")), ("path",), "empty or a dot segment"),
    (Match(path=PathMatch(template="/a%2/{x}")), ("path",), "two hexadecimal digits"),
    (Match(path=PathMatch(template="/{x}/{x}")), ("path",), "stands twice"),
    (Match(path=PathMatch(regex="/a(")), ("path",), "not a valid RE2 expression: missing )"),
    (Match(path=PathMatch(regex="/a(?=b)")), ("path",), "not a valid RE2 expression"),
    (Match(path=PathMatch(regex="/" + "a" * 1000)), ("path",), "1000 characters, this one has 1001"),
    (Match(host=["a.*.example.com"]), ("host",), "*.example.com"),
    (Match(host=["*example.com"]), ("host",), "*.example.com"),
    (Match(host=["example.com:8080"]), ("host",), "without a port"),
    (Match(host=["exa mple"]), ("host",), "DNS name"),
    (Match(method=["G ET"]), ("method",), "not a method"),
    (Match(headers={"x y": ValueMatch(exact="1")}), ("headers", "x y"), "not the name of a header field"),
    (Match(headers={"Host": ValueMatch(exact="1")}), ("headers", "Host"), "match the host with `host`"),
    (Match(headers={"x": ValueMatch()}), ("headers", "x"), "exactly one of exact, regex, present; here are 0"),
    (Match(query={"x": ValueMatch(exact="1", present=True)}), ("query", "x"), "here are 2"),
    (Match(query={"x": ValueMatch(regex="[")}), ("query", "x"), "not a valid RE2 expression"),
]


@pytest.mark.parametrize(("match", "at", "words"), PROBLEMS)
def test_a_broken_pattern_is_named_with_its_place(match: Match, at: tuple[str, ...], words: str) -> None:
    (problem,) = check_match(match)
    assert problem.at == at
    assert words in problem.message


def test_all_problems_are_found_at_once() -> None:
    match = Match(path=PathMatch(), host=["a:1", "*"], method=["?"], query={"a": ValueMatch(), "b": ValueMatch()})
    assert [problem.at for problem in check_match(match)] == [
        ("path",),
        ("host",),
        ("method",),
        ("query", "a"),
        ("query", "b"),
    ]


def test_a_sound_match_has_no_problems() -> None:
    match = Match(
        path=PathMatch(template="/v1/{service}/{path}"),
        host=["*.Example.com", "[::1]"],
        method=["get", "M-SEARCH"],
        headers={"X-Tier": ValueMatch(regex="gold|silver")},
        query={"debug": ValueMatch(present=False)},
    )
    assert check_match(match) == []


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("*", ""),
        ("Example.COM.", "example.com"),
        ("*.Example.com", ".example.com"),
        ("[0:0::1]", "[::1]"),
    ],
)
def test_hosts_are_normalised(text: str, pattern: str) -> None:
    assert host_pattern(text) == pattern


FIELDS = [(b"X-A", b"1"), (b"x-b", b""), (b"x-a", b"2"), (b"Cookie", b"a=1"), (b"cookie", b"b=2")]


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"x-a", b"1, 2"), (b"x-b", b""), (b"x-c", None), (b"cookie", b"a=1; b=2")],
)
def test_repeated_fields_are_one_value(name: bytes, value: bytes | None) -> None:
    assert field_value(FIELDS, name) == value


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (b"", None),
        (b"b=1", None),
        (b"a=1", b"1"),
        (b"a", b""),
        (b"a=", b""),
        (b"a=1&a=2", b"1"),
        (b"b=1&&%61=x%20y", b"x y"),
        (b"a=x+y", b"x y"),
        (b"a=b=c", b"b=c"),
        (b"a=%", b"%"),
        (b"=1", None),
        (b"aa=1;a=2", None),
    ],
)
def test_query_values_are_decoded_and_the_first_counts(query: bytes, value: bytes | None) -> None:
    assert query_value(query, b"a") == value


CONDITIONS = [
    (ValueMatch(exact="a"), b"a", True),
    (ValueMatch(exact="a"), b"A", False),
    (ValueMatch(exact="a"), None, False),
    (ValueMatch(exact=""), b"", True),
    (ValueMatch(exact="é"), "é".encode(), True),
    (ValueMatch(regex="a+"), b"aa", True),
    (ValueMatch(regex="a+"), b"aab", False),
    (ValueMatch(regex="a.*"), b"a\xff", False),
    (ValueMatch(regex=".*"), None, False),
    (ValueMatch(present=True), b"", True),
    (ValueMatch(present=True), None, False),
    (ValueMatch(present=False), b"x", False),
    (ValueMatch(present=False), None, True),
]


@pytest.mark.parametrize(("wanted", "value", "holds"), CONDITIONS)
def test_a_condition_holds_for_field_and_parameter_alike(wanted: ValueMatch, value: bytes | None, holds: bool) -> None:
    (header,) = conditions_of(Match(headers={"X-K": wanted}))
    (query,) = conditions_of(Match(query={"k": wanted}))
    fields = [] if value is None else [(b"x-K", value)]
    assert header.holds(fields, b"k=other") is holds
    assert query.holds([(b"k", b"other")], b"" if value is None else b"k=" + value) is holds


def test_the_library_of_expressions_is_loaded_only_for_an_expression() -> None:
    code = (
        "import sys\n"
        "from headgate.policy.match import Match, PathMatch\n"
        "from headgate.policy.route import RouteRule, RouteTable\n"
        "RouteTable([RouteRule('a', Match(path=PathMatch(template='/a/{b}')), 0, 0)])\n"
        "assert 're2' not in sys.modules\n"
        "RouteTable([RouteRule('a', Match(path=PathMatch(regex='/a')), 0, 0)])\n"
        "assert 're2' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
