"""The route table: cases by hand, and the written rule as a naive reference on random tables and requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.match import Match, PathMatch, ValueMatch
from headgate.policy.route import Explanation, Matched, MethodNotAllowed, NotFound, RouteRule, RouteTable, Step

Order = Literal["specific", "file"]


def path(text: str) -> PathMatch:
    """Read `form text`, or a bare prefix."""
    form, _, value = text.rpartition(" ")
    given: dict[str, Any] = {form or "prefix": value}
    return PathMatch(**given)


def table(*rules: tuple[str, Match], order: Order = "specific") -> RouteTable[str]:
    return RouteTable([RouteRule(name, match, name, place) for place, (name, match) in enumerate(rules)], order)


def ask(routes: RouteTable[Any], target: str, method: str = "GET", host: str = "h", **more: Any) -> Any:
    at, _, query = target.partition("?")
    return routes.match(host, at, method, more.get("fields", ()), query.encode())


def taken(routes: RouteTable[Any], target: str, method: str = "GET", host: str = "h", **more: Any) -> str | None:
    result = ask(routes, target, method, host, **more)
    return result.route if isinstance(result, Matched) else None


FORMS = [
    ("/", "/", {"path": ""}),
    ("/", "/a/b", {"path": "a/b"}),
    ("/api", "/api", {"path": ""}),
    ("/api", "/api/", {"path": ""}),
    ("/api", "/api/x/", {"path": "x/"}),
    ("/api", "/apiary", None),
    ("/api$", "/api", {}),
    ("/api$", "/api/x", None),
    ("/api", "/", None),
    ("/api", "/API", None),
    ("/api/", "/api", {"path": ""}),
    ("/api/", "/api/x", {"path": "x"}),
    ("exact /a/b", "/a/b", {}),
    ("exact /a/b", "/a/b/", None),
    ("exact /a/b", "/a", None),
    ("exact /", "/", {}),
    ("exact /", "/a", None),
    ("template /v1/{service}/{path}", "/v1/chat", {"service": "chat", "path": ""}),
    ("template /v1/{service}/{path}", "/v1/chat/", {"service": "chat", "path": ""}),
    ("template /v1/{service}/{path}", "/v1/chat/a/b", {"service": "chat", "path": "a/b"}),
    ("template /v1/{service}/{path}", "/v1", None),
    ("template /v1/{service}/{path}", "/v1/", None),
    ("template /u/{id}/orders", "/u/7/orders", {"id": "7"}),
    ("template /u/{id}/orders", "/u/7/8/orders", None),
    ("template /u/{id}/orders", "/u//orders", None),
    ("template /u/{id}/", "/u/7/", {"id": "7"}),
    ("template /u/{id}/", "/u/7", None),
    ("regex /v(?P<major>[0-9]+)/(?P<rest>.*)", "/v12/a/b", {"major": "12", "rest": "a/b"}),
    ("regex /v[0-9]", "/v1/x", None),
    ("regex /a(/(?P<b>b))?", "/a", {"b": ""}),
    ("regex /a|/b/c", "/b/c", {}),
]


@pytest.mark.parametrize(("form", "target", "params"), FORMS)
def test_forms_of_the_path(form: str, target: str, params: dict[str, str] | None) -> None:
    result = ask(table(("r", Match(path=path(form)))), target)
    assert (result.params if isinstance(result, Matched) else None) == params


# Each line: the more specific pattern first, and a path that both match.
PATH_ORDER = [
    ("exact /a/b", "/a/b", "/a/b"),
    ("exact /a/b", "template /a/{x}", "/a/b"),
    ("exact /a/b", "regex /a/b", "/a/b"),
    ("/a/b", "/a", "/a/b/c"),
    ("/a/b", "regex /a/.*/c", "/a/b/c"),
    ("/a", "/", "/a"),
    ("/a", "template /{x}/b/c", "/a/b/c"),
    ("template /a/{x}/{y}", "/a", "/a/1"),
    ("template /a/{x}/c", "template /{x}/b/c", "/a/b/c"),
    ("template /a/{x}/c", "template /a/{x}/{y}", "/a/b/c"),
    ("regex /a/[0-9]+", "template /a/{x}/{y}", "/a/1"),
    ("regex /a/.*", "/a", "/a/1"),
    ("regex .*", "/", "/a"),
]


@pytest.mark.parametrize(("narrow", "wide", "target"), PATH_ORDER)
def test_the_more_specific_path_wins_whatever_the_file_says(narrow: str, wide: str, target: str) -> None:
    for names in (("narrow", "wide"), ("wide", "narrow")):
        forms = {"narrow": narrow, "wide": wide}
        routes = table(*((name, Match(path=path(forms[name]))) for name in names))
        assert taken(routes, target) == "narrow"
        routes = table(*((name, Match(path=path(forms[name]))) for name in names), order="file")
        assert taken(routes, target) == names[0]


def test_hosts_go_before_paths() -> None:
    routes = table(
        ("any", Match(path=path("exact /deep/path"))),
        ("wide", Match(host=["*.example.com"], path=path("/deep"))),
        ("narrow", Match(host=["*.a.example.com"])),
        ("exact", Match(host=["X.a.example.com", "[::1]"], path=path("/deep"))),
    )
    assert taken(routes, "/deep/path", host="x.a.example.com") == "exact"
    assert taken(routes, "/deep/path", host="y.a.example.com") == "narrow"
    assert taken(routes, "/deep/path", host="y.z.b.example.com") == "wide"
    assert taken(routes, "/deep/path", host="example.com") == "any"
    assert taken(routes, "/deep/path", host="notexample.com") == "any"
    assert taken(routes, "/deep", host="[::1]") == "exact"
    assert taken(routes, "/deep", host="") is None


def test_a_host_without_a_fitting_path_leaves_the_request_to_wider_hosts() -> None:
    routes = table(
        ("exact", Match(host=["a.example.com"], path=path("/x"))),
        ("wild", Match(host=["*.example.com"], path=path("/y"))),
        ("any", Match(path=path("/z"))),
    )
    assert [taken(routes, at, host="a.example.com") for at in ("/x", "/y", "/z")] == ["exact", "wild", "any"]


def test_criteria_decide_at_one_place_and_then_the_file() -> None:
    one = ValueMatch(exact="1")
    routes = table(
        ("plain", Match(path=path("/a"))),
        ("method", Match(path=path("/a"), method=["get"])),
        ("both", Match(path=path("/a"), headers={"X-A": one}, query={"q": one})),
        ("header", Match(path=path("/a"), headers={"x-a": one})),
    )
    assert taken(routes, "/a?q=1", fields=[(b"X-a", b"1")]) == "both"
    assert taken(routes, "/a", fields=[(b"X-a", b"1")]) == "method"
    assert taken(routes, "/a", "PUT", fields=[(b"X-a", b"1")]) == "header"
    assert taken(routes, "/a", "PUT") == "plain"


def test_a_less_specific_route_catches_what_the_criteria_of_the_best_refuse() -> None:
    routes = table(
        ("post", Match(path=path("exact /api/v1/chat"), method=["POST"])),
        ("beta", Match(path=path("/api/v1"), headers={"x-beta": ValueMatch(present=True)})),
        ("named", Match(path=path("template /api/{version}/{path}"), query={"v": ValueMatch(exact="2")})),
        ("api", Match(path=path("/api"))),
    )
    assert taken(routes, "/api/v1/chat", "POST") == "post"
    assert taken(routes, "/api/v1/chat", fields=[(b"X-Beta", b"")]) == "beta"
    assert taken(routes, "/api/v1/chat?v=2") == "named"
    assert taken(routes, "/api/v1/chat") == "api"


def test_way_back_out_of_a_literal_and_a_named_segment() -> None:
    routes = table(
        ("literal", Match(path=path("exact /a/b/c"))),
        ("named", Match(path=path("template /{x}/b/d"))),
        ("named twice", Match(path=path("template /{x}/{y}/e"))),
        ("rest", Match(path=path("template /{x}/{rest}"), method=["GET"])),
    )
    assert [taken(routes, f"/a/b/{end}") for end in "cdef"] == ["literal", "named", "named twice", "rest"]
    assert taken(routes, "/") is None


def test_methods_of_all_routes_that_match_but_for_the_method() -> None:
    routes = table(
        ("a", Match(path=path("/a"), method=["PUT", "post"])),
        ("wide", Match(method=["DELETE"])),
        ("host", Match(host=["*.h"], path=path("/a"), method=["PATCH"])),
        ("other", Match(path=path("/b"), method=["TRACE"])),
        ("closed", Match(path=path("/a"), method=["OPTIONS"], headers={"x": ValueMatch(present=True)})),
        ("regex", Match(path=path("regex /a/[0-9]"), method=["LINK"])),
    )
    assert ask(routes, "/a") == MethodNotAllowed(("DELETE", "POST", "PUT"), False)
    assert ask(routes, "/a/1", fields=[(b"X", b"")]) == MethodNotAllowed(
        ("DELETE", "LINK", "OPTIONS", "POST", "PUT"), False
    )
    assert ask(routes, "/a", host="a.h") == MethodNotAllowed(("DELETE", "PATCH", "POST", "PUT"), False)
    assert ask(routes, "/c") == MethodNotAllowed(("DELETE",), True)
    assert ask(table(("a", Match(path=path("/a"), method=["GET"]))), "/b") == NotFound(True)
    assert ask(table(("a", Match(path=path("/a"), method=["GET"]))), "/a", "get") == MethodNotAllowed(("GET",), True)


def test_an_answer_is_cacheable_only_if_no_condition_was_asked_on_the_way() -> None:
    beta = {"x-beta": ValueMatch(present=True)}
    routes = table(
        ("exact", Match(path=path("exact /a/b"))),
        ("beta", Match(path=path("/a"), headers=beta)),
        ("put", Match(path=path("/p"), method=["PUT"], headers=beta)),
        ("rest", Match()),
    )
    assert ask(routes, "/a/b").cacheable
    assert not ask(routes, "/a/c", fields=[(b"x-beta", b"")]).cacheable
    assert not ask(routes, "/a/c").cacheable
    assert ask(routes, "/p").cacheable
    assert not ask(routes, "/p", "PUT").cacheable
    alone = table(("beta", Match(path=path("/a"), headers=beta)), ("c", Match(path=path("exact /a/c"))))
    assert ask(alone, "/a/d") == NotFound(False)
    assert ask(alone, "/b") == NotFound(True)
    assert ask(alone, "/a/c") == Matched("c", "c", {}, True)


def test_a_broken_pattern_names_its_route() -> None:
    with pytest.raises(ValueError, match="route chat: not a valid RE2 expression"):
        table(("chat", Match(path=path("regex /("))))


def test_explain_gives_a_reason_for_every_route() -> None:
    routes = table(
        ("host", Match(host=["*.example.com", "b"], path=path("/api"))),
        ("elsewhere", Match(path=path("/other"))),
        ("api", Match(path=path("/api"))),
        ("api again", Match(path=path("/api/"))),
        ("post", Match(path=path("/api/v1"), method=["POST", "PUT"])),
        ("beta", Match(path=path("/api"), headers={"X-Beta": ValueMatch(exact="1")})),
        ("number", Match(path=path("regex /api/[0-9]+"))),
        ("root", Match()),
    )
    explanation = routes.explain("h", "/api/v1/x", "GET", (), b"")
    assert explanation.result == Matched("api", "api", {"path": "v1/x"}, False)
    assert explanation.steps == (
        Step("post", False, "the method is not POST or PUT"),
        Step("number", False, "the path does not match regex /api/[0-9]+"),
        Step("beta", False, "does not hold: header x-beta exact 1"),
        Step("api", True, "matches: prefix /api"),
        Step("api again", False, "matches too, but api stands earlier in the file"),
        Step("root", False, "matches too, but api is more specific"),
        Step("host", False, "the host is not *.example.com or b"),
        Step("elsewhere", False, "the path does not match prefix /other"),
    )


def test_explain_names_criteria_and_the_file_as_reasons() -> None:
    rules = (("wide", Match()), ("method", Match(method=["GET"])))
    steps = table(*rules).explain("h", "/", "GET", (), b"").steps
    assert steps[1] == Step("wide", False, "matches too, but method has more criteria")
    steps = table(*rules, order="file").explain("h", "/", "GET", (), b"").steps
    assert steps == (
        Step("wide", True, "matches: prefix /"),
        Step("method", False, "matches too, but wide stands earlier in the file"),
    )


# -- the rule of the docstring, naively ----------------------------------------------------------------------

# Expressions with the literal segments they begin with, as a reader sees them.
REGEXES = {"/a/[ab]+": ["a"], "/(a|b)/c": [], ".*": [], "/a/b/.*": ["a", "b"], "/.*c": []}


def path_rank(form: PathMatch | None, segments: Sequence[str], whole: str) -> tuple[int, ...] | None:
    """0 literal, 1 end, 2 expression, 3 name, 4 open end; None: does not match."""
    if form is None:
        return (4,)
    if form.exact is not None:
        return (*(0 for _ in segments), 1) if form.exact == whole else None
    if form.prefix is not None:
        wanted = form.prefix.strip("/").split("/") if form.prefix != "/" else []
        return (*(0 for _ in wanted), 4) if list(segments[: len(wanted)]) == wanted else None
    if form.regex is not None:
        return (*(0 for _ in REGEXES[form.regex]), 2) if re.fullmatch(form.regex, whole) else None
    assert form.template is not None
    parts = form.template[1:].split("/")
    rank: list[int] = []
    for place, part in enumerate(parts):
        if part.startswith("{") and place == len(parts) - 1:
            return (*rank, 4)
        if place >= len(segments):
            return None
        if part.startswith("{"):
            if not segments[place]:
                return None
            rank.append(3)
        elif part != segments[place]:
            return None
        else:
            rank.append(0)
    return (*rank, 1) if len(segments) == len(parts) else None


def host_rank(pattern: str, host: str) -> tuple[int, int] | None:
    if pattern == host:
        return (0, 0)
    if pattern.startswith("*."):
        return (1, -len(pattern)) if host.endswith(pattern[1:]) else None
    return (2, 0) if pattern == "*" else None


def value_holds(wanted: ValueMatch, value: str | None) -> bool:
    if wanted.present is not None:
        return (value is not None) is wanted.present
    return value == wanted.exact


Request = tuple[str, str, str, dict[str, str], dict[str, str]]


def reference(rules: Sequence[RouteRule[int]], order: Order, request: Request) -> Any:
    host, whole, method, headers, query = request
    best: Any = None
    allow: set[str] = set()
    for rule in rules:
        match = rule.match
        by_path = path_rank(match.path, whole[1:].split("/"), whole)
        ranks = [found for one in match.host or ["*"] if (found := host_rank(one, host)) is not None]
        by_host = min(ranks, default=None)
        holds = all(value_holds(wanted, headers.get(name)) for name, wanted in match.headers.items())
        holds = holds and all(value_holds(wanted, query.get(name)) for name, wanted in match.query.items())
        if by_path is None or by_host is None or not holds:
            continue
        if match.method and method not in match.method:
            allow.update(match.method)
            continue
        criteria = bool(match.method) + len(match.headers) + len(match.query)
        rank: Any = (by_host, by_path, -criteria, rule.order) if order == "specific" else rule.order
        if best is None or rank < best[0]:
            best = (rank, rule.name)
    if best is not None:
        return best[1]
    return tuple(sorted(allow)) if allow else None


SEGMENT = st.sampled_from(["a", "b", "c"])
FORM = st.one_of(
    st.none(),
    st.lists(SEGMENT, max_size=3).map(lambda parts: PathMatch(prefix="/" + "/".join(parts))),
    st.lists(SEGMENT, max_size=3).map(lambda parts: PathMatch(exact="/" + "/".join(parts))),
    st.tuples(st.lists(st.sampled_from(["a", "b", "{x}", "{y}"]), min_size=1, max_size=3, unique=True)).map(
        lambda parts: PathMatch(template="/" + "/".join(parts[0]))
    ),
    st.sampled_from([PathMatch(regex=text) for text in REGEXES]),
)
HOSTS = ["x.example.com", "y.x.example.com", "example.com", "other"]
VALUES = st.one_of(
    st.sampled_from(["1", "2"]).map(lambda text: ValueMatch(exact=text)),
    st.booleans().map(lambda wanted: ValueMatch(present=wanted)),
)
MATCHES = st.builds(
    Match,
    path=FORM,
    host=st.one_of(
        st.just([]), st.lists(st.sampled_from([*HOSTS, "*.example.com", "*.x.example.com", "*.com", "*"]), max_size=2)
    ),
    method=st.one_of(st.just([]), st.lists(st.sampled_from(["GET", "POST", "PUT"]), max_size=2, unique=True)),
    headers=st.one_of(st.just({}), st.dictionaries(st.sampled_from(["h", "i"]), VALUES, max_size=2)),
    query=st.one_of(st.just({}), st.dictionaries(st.just("q"), VALUES, max_size=1)),
)
TABLES = st.lists(MATCHES, max_size=8).map(
    lambda matches: [RouteRule(f"r{place}", match, place, place) for place, match in enumerate(matches)]
)
GIVEN = st.dictionaries(st.sampled_from(["h", "i"]), st.sampled_from(["1", "2"]), max_size=2)
REQUESTS = st.tuples(
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=4).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(["GET", "POST", "PUT"]),
    GIVEN,
    st.dictionaries(st.just("q"), st.sampled_from(["1", "2"]), max_size=1),
)


def raw(request: Request) -> tuple[str, str, str, list[tuple[bytes, bytes]], bytes]:
    host, whole, method, headers, query = request
    fields = [(name.upper().encode(), value.encode()) for name, value in headers.items()]
    return host, whole, method, fields, "&".join(f"{name}={value}" for name, value in query.items()).encode()


def said(result: Any) -> Any:
    if isinstance(result, Matched):
        return result.route
    return result.allow if isinstance(result, MethodNotAllowed) else None


@settings(max_examples=400, deadline=None)
@given(rules=TABLES, requests=st.lists(REQUESTS, min_size=1, max_size=5), order=st.sampled_from(["specific", "file"]))
def test_the_table_answers_what_the_written_rule_says(
    rules: list[RouteRule[int]], requests: list[Request], order: Order
) -> None:
    routes = RouteTable(rules, order)
    for request in requests:
        result = routes.match(*raw(request))
        assert said(result) == reference(rules, order, request)
        agree(routes.explain(*raw(request)), result, len(rules))


def agree(explanation: Explanation[int], result: Any, count: int) -> None:
    assert explanation.result == result
    assert len(explanation.steps) == count
    assert [step.route for step in explanation.steps if step.taken] == (
        [result.route] if isinstance(result, Matched) else []
    )


@settings(max_examples=200, deadline=None)
@given(rules=TABLES, request=REQUESTS, headers=GIVEN, order=st.sampled_from(["specific", "file"]))
def test_what_is_cacheable_is_the_same_for_other_headers_and_query(
    rules: list[RouteRule[int]], request: Request, headers: dict[str, str], order: Order
) -> None:
    routes = RouteTable(rules, order)
    result = routes.match(*raw(request))
    if result.cacheable:
        host, whole, method, _, _ = request
        assert routes.match(*raw((host, whole, method, headers, {}))) == result
