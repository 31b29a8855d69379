"""Rewrites of the path, edits of header fields and query: tables, and what no value may bring about."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.message import Fields
from headgate.core.uri import BadTarget, normalize_path
from headgate.policy.edits import HeaderEditor, PathRewriter, QueryEditor, check_edits, check_rewrite
from headgate.policy.match import Match, PathMatch
from headgate.policy.rewrite import FieldEdits, QueryEdits, Rewrite

ANY = Match()
NAMED = Match(path=PathMatch(template="/v1/{service}/{path}"))


def nothing(name: str) -> str | None:
    return None


# -- the path ------------------------------------------------------------------------------------------------

PREFIXES = [
    ({}, "/a/b", "/a/b"),
    ({"host": "preserve"}, "/a", "/a"),
    # The table of ReplacePrefixMatch in the Kubernetes Gateway API.
    ({"strip_prefix": "/foo", "add_prefix": "/xyz"}, "/foo/bar", "/xyz/bar"),
    ({"strip_prefix": "/foo", "add_prefix": "/xyz/"}, "/foo/bar", "/xyz/bar"),
    ({"strip_prefix": "/foo/", "add_prefix": "/xyz"}, "/foo/bar", "/xyz/bar"),
    ({"strip_prefix": "/foo", "add_prefix": "/xyz"}, "/foo", "/xyz"),
    ({"strip_prefix": "/foo", "add_prefix": "/xyz"}, "/foo/", "/xyz/"),
    ({"strip_prefix": "/foo"}, "/foo/bar", "/bar"),
    ({"strip_prefix": "/foo"}, "/foo/", "/"),
    ({"strip_prefix": "/foo"}, "/foo", "/"),
    ({"strip_prefix": "/foo"}, "/foobar", "/foobar"),
    ({"strip_prefix": "/foo"}, "/other/foo", "/other/foo"),
    ({"strip_prefix": "/foo"}, "/foo//evil.example", "/evil.example"),
    ({"strip_prefix": "/"}, "/a", "/a"),
    ({"strip_prefix": "/café"}, "/caf%C3%A9/x", "/x"),
    ({"add_prefix": "/v1"}, "/", "/v1/"),
    ({"add_prefix": "/v1"}, "/a", "/v1/a"),
    ({"add_prefix": "/"}, "/a", "/a"),
]


@pytest.mark.parametrize(("rewrite", "path", "expected"), PREFIXES)
def test_prefixes_are_replaced_by_whole_segments(rewrite: dict[str, Any], path: str, expected: str) -> None:
    assert PathRewriter(Rewrite(**rewrite)).rewrite(path, {}) == expected


TEMPLATES = [
    ("/models/{path}", "/v1/chat/a/b", {"service": "chat", "path": "a/b"}, "/models/a/b"),
    ("/models/{path}", "/v1/chat", {"service": "chat", "path": ""}, "/models"),
    ("/models/{path}", "/v1/chat/", {"service": "chat", "path": ""}, "/models/"),
    ("/{path}", "/v1/chat", {"service": "chat", "path": ""}, "/"),
    ("/{service}/{path}", "/v1/chat/x/", {"service": "chat", "path": "x/"}, "/chat/x/"),
    ("/{params.service}.json", "/v1/chat", {"service": "chat", "path": ""}, "/chat.json"),
    ("/fixed", "/v1/chat", {"service": "chat", "path": ""}, "/fixed"),
    ("/café/{path}", "/v1/chat/x%2Fy", {"service": "chat", "path": "x%2Fy"}, "/caf%C3%A9/x%2Fy"),
    ("/a/{path}/b", "/v1/chat", {"service": "chat", "path": ""}, "/a/b"),
]


@pytest.mark.parametrize(("template", "path", "params", "expected"), TEMPLATES)
def test_a_template_makes_the_whole_path(template: str, path: str, params: dict[str, str], expected: str) -> None:
    assert PathRewriter(Rewrite(path=template)).rewrite(path, params) == expected


def test_parts_of_an_expression_cannot_leave_the_template() -> None:
    # What a match with regex: /f/(?P<n>.*)x would give.
    rewriter = PathRewriter(Rewrite(path="/files/{n}"))
    assert rewriter.rewrite("/f/ax", {"n": "a"}) == "/files/a"
    with pytest.raises(BadTarget, match="leaves the prefix"):
        rewriter.rewrite("/f/..x", {"n": ".."})
    with pytest.raises(BadTarget, match="climbs"):
        PathRewriter(Rewrite(path="/{n}")).rewrite("/f/..x", {"n": ".."})


SEGMENTS = st.lists(st.sampled_from(["a", "b", "%2F", "..a", "", "~"]), max_size=4)


@given(
    parts=SEGMENTS,
    strip=st.sampled_from([None, "/", "/a", "/a/b"]),
    add=st.sampled_from([None, "/", "/z", "/z/y/"]),
    merge=st.booleans(),
)
def test_a_rewritten_path_is_in_normal_form(parts: list[str], strip: str | None, add: str | None, merge: bool) -> None:
    path = normalize_path(("/" + "/".join(parts)).encode(), merge, encoded_slashes=True)
    made = PathRewriter(Rewrite(strip_prefix=strip, add_prefix=add)).rewrite(path, {})
    assert normalize_path(made.encode(), merge, encoded_slashes=True) == made
    if (strip or "").strip("/"):
        assert not made.startswith("//") or path.startswith("//")


REWRITES = [
    (Rewrite(strip_prefix="a"), ANY, "strip_prefix", "must begin with a slash"),
    (Rewrite(add_prefix="/a/../.."), ANY, "add_prefix", "climbs"),
    (
        Rewrite(strip_prefix="/b"),
        Match(path=PathMatch(prefix="/a")),
        "strip_prefix",
        "begins with '/b'; it takes p",
    ),
    (Rewrite(strip_prefix="/a/b"), Match(path=PathMatch(exact="/a")), "strip_prefix", "no path of this route"),
    (Rewrite(path="/x", add_prefix="/y"), ANY, "path", "either path alone"),
    (Rewrite(path="x/{path}"), ANY, "path", "must begin with a slash"),
    (Rewrite(path="/x?{path}"), ANY, "path", "question mark"),
    (Rewrite(path="/{y}"), NAMED, "path", "nothing fills {y}; known here: service, path"),
    (Rewrite(path="/{path}"), Match(path=PathMatch(exact="/a")), "path", "the match has no named parts"),
    (Rewrite(host="a b"), ANY, "host", "host:port, or preserve"),
]


@pytest.mark.parametrize(("rewrite", "match", "key", "words"), REWRITES)
def test_a_wrong_rewrite_is_objected_to(rewrite: Rewrite, match: Match, key: str, words: str) -> None:
    (objection,) = check_rewrite(rewrite, match)
    assert objection.at == (key,)
    assert words in objection.message


def test_a_prefix_that_cannot_be_a_path_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="must begin with a slash"):
        PathRewriter(Rewrite(add_prefix="v1"))


@pytest.mark.parametrize(
    ("rewrite", "match"),
    [
        (Rewrite(strip_prefix="/a/b"), Match(path=PathMatch(prefix="/a"))),
        (Rewrite(strip_prefix="/a"), Match(path=PathMatch(prefix="/a/b"))),
        (Rewrite(strip_prefix="/v1/chat"), NAMED),
        (Rewrite(path="/{path}"), ANY),
        (Rewrite(host="upstream.example:8443"), ANY),
        (Rewrite(strip_prefix="/b"), Match(path=PathMatch())),
    ],
)
def test_a_sound_rewrite_passes(rewrite: Rewrite, match: Match) -> None:
    assert list(check_rewrite(rewrite, match)) == []


# -- header fields -------------------------------------------------------------------------------------------

FIELDS: Fields = [(b"Accept", b"*/*"), (b"X-A", b"1"), (b"x-a", b"2"), (b"X-B", b"3")]

EDITS = [
    (FieldEdits(), FIELDS),
    (FieldEdits(remove=["x-A"]), [FIELDS[0], FIELDS[3]]),
    (FieldEdits(set={"X-a": "9"}), [FIELDS[0], FIELDS[3], (b"X-a", b"9")]),
    (FieldEdits(add={"X-A": "9"}), [*FIELDS, (b"X-A", b"9")]),
    (
        FieldEdits(remove=["x-b"], set={"x-a": "{client}"}, add={"x-b": "{params.x}!", "x-c": "c"}),
        [FIELDS[0], (b"x-a", b"192.0.2.1"), (b"x-b", b"part!"), (b"x-c", b"c")],
    ),
    (FieldEdits(set={"x-a": "{absent}"}), [FIELDS[0], FIELDS[3]]),
    (FieldEdits(set={"X_A": "9"}), [FIELDS[0], FIELDS[3], (b"X_A", b"9")]),
    (FieldEdits(remove=["x.b"]), [field for field in FIELDS if field[0].lower() != b"x-b"]),
    (FieldEdits(add={"x-c": " {client} "}), [*FIELDS, (b"x-c", b"192.0.2.1")]),
    (FieldEdits(add={"x-c": "é"}), [*FIELDS, (b"x-c", "é".encode())]),
]


@pytest.mark.parametrize(("edits", "expected"), EDITS)
def test_fields_are_removed_set_and_added_in_this_order(edits: FieldEdits, expected: Fields) -> None:
    before = list(FIELDS)
    assert HeaderEditor(edits).apply(FIELDS, {"client": "192.0.2.1", "params.x": "part"}.get) == expected
    assert before == FIELDS


def test_an_editor_without_edits_is_false() -> None:
    assert not HeaderEditor(FieldEdits())
    assert HeaderEditor(FieldEdits(remove=["a"]))
    assert HeaderEditor(FieldEdits(add={"a": "b"}))


CONSTANTS = [(b"X-Frame-Options", b"DENY"), (b"CSP", b"{not a placeholder}")]
CAME = [(b"x-frame-options", b"ALLOWALL"), (b"Server", b"nginx"), (b"Access", b"*")]
TOGETHER = [
    (FieldEdits(), True, [(b"Server", b"nginx"), *CONSTANTS]),
    (FieldEdits(), False, [CAME[0], CAME[1], CONSTANTS[1]]),
    (FieldEdits(remove=["X-Frame-Options"]), True, [(b"Server", b"nginx"), CONSTANTS[1]]),
    (FieldEdits(remove=["X-Frame-Options"]), False, [(b"Server", b"nginx"), CONSTANTS[1]]),
    (FieldEdits(set={"x-FRAME-options": "{path}"}), True, [CAME[1], CONSTANTS[1], (b"x-FRAME-options", b"/p")]),
    (FieldEdits(set={"CSP": "a"}), False, [CAME[0], CAME[1], (b"CSP", b"a")]),
    (FieldEdits(add={"csp": "a"}), True, [CAME[1], *CONSTANTS, (b"csp", b"a")]),
    (FieldEdits(add={"csp": "a"}), False, [CAME[0], CAME[1], (b"csp", b"a")]),
]


@pytest.mark.parametrize(("edits", "override", "expected"), TOGETHER)
def test_the_operator_s_edits_win_over_what_goes_with_them(edits: FieldEdits, override: bool, expected: Fields) -> None:
    editor = HeaderEditor(edits, ["access"], CONSTANTS, override)
    in_block = HeaderEditor(edits, ["access"], CONSTANTS, override, in_block=True)
    for _ in range(2):
        assert editor.apply(list(CAME), {"path": "/p"}.get) == expected
    fields = in_block.apply(list(CAME), {"path": "/p"}.get)
    lines = in_block.block.split(b"\r\n") if in_block.block else []
    assert sorted([*map(b": ".join, fields), *lines]) == sorted(map(b": ".join, expected))
    assert bool(lines) is (override and not edits.set)
    assert editor.touched >= {b"access", b"x-frame-options", b"csp"}
    assert editor


@given(st.text(max_size=20))
def test_no_value_brings_a_control_character_into_a_field(value: str) -> None:
    made = HeaderEditor(FieldEdits(set={"x-a": "v{client}"})).apply(list(FIELDS), lambda name: value)
    assert (b"X-A", b"1") not in made
    for _, text in made:
        assert not set(text) & ({*range(32), 127} - {9})


@pytest.mark.parametrize("bad", ["\r\nEvil: 1", "a\nb", "a\rb", "a\0b", "a\x7fb", "a\x1b[0m"])
def test_a_field_with_an_unsafe_value_is_dropped_whole(bad: str) -> None:
    assert HeaderEditor(FieldEdits(add={"x-c": "v {client}"})).apply([], lambda name: bad) == []


OBJECTIONS: list[tuple[FieldEdits, Literal["request", "response"], tuple[str, ...], str]] = [
    (FieldEdits(remove=["Content-Length"]), "request", ("remove",), "the gateway writes it itself"),
    (FieldEdits(set={"Transfer-Encoding": "x"}), "response", ("set", "Transfer-Encoding"), "the gateway writes it"),
    (FieldEdits(add={"connection": "close"}), "response", ("add", "connection"), "the gateway writes it itself"),
    (FieldEdits(set={"Host": "x"}), "request", ("set", "Host"), "rewrite.host"),
    (FieldEdits(remove=["a b"]), "request", ("remove",), "not the name of a header field"),
    (FieldEdits(set={"x": "a\r\nb"}), "request", ("set", "x"), "line breaks"),
    (FieldEdits(set={"x": "{wrong}"}), "request", ("set", "x"), "nothing fills {params.wrong}"),
]


@pytest.mark.parametrize(("edits", "direction", "at", "words"), OBJECTIONS)
def test_wrong_edits_are_objected_to(
    edits: FieldEdits, direction: Literal["request", "response"], at: tuple[str, ...], words: str
) -> None:
    (objection,) = check_edits(edits, direction, ["x"])
    assert objection.at == at
    assert words in objection.message


def test_sound_edits_pass() -> None:
    edits = FieldEdits(remove=["Server"], set={"x": "{params.x} {x} {request_id}"}, add={"Host": "in a response"})
    assert list(check_edits(edits, "response", ["x"])) == []
    assert list(check_edits(FieldEdits(set={"x": "{whatever}"}), "request")) == []


# -- the query -----------------------------------------------------------------------------------------------

QUERIES = [
    (QueryEdits(), None, None),
    (QueryEdits(), b"", b""),
    (QueryEdits(), b"a=%41&&b", b"a=%41&&b"),
    (QueryEdits(remove=["a"]), b"a=1&b=%41+x&%61=2&&c", b"b=%41+x&&c"),
    (QueryEdits(remove=["a"]), b"a=1", None),
    (QueryEdits(remove=["a"]), None, None),
    (QueryEdits(remove=["a b"]), b"a+b=1&a%20b=2&c=3", b"c=3"),
    (QueryEdits(set={"a": "x y&"}), b"b=1&a=1&c=2&a=3", b"b=1&a=x%20y%26&c=2"),
    (QueryEdits(set={"a": "1"}), b"b=2", b"b=2&a=1"),
    (QueryEdits(set={"a": "1"}), None, b"a=1"),
    (QueryEdits(add={"a": "é"}), b"a=1", b"a=1&a=%C3%A9"),
    (QueryEdits(add={"a": "1"}), None, b"a=1"),
    (QueryEdits(add={"a": "1"}), b"", b"a=1"),
    (QueryEdits(remove=["a"], set={"b": "2"}, add={"a": "3"}), b"a=1&b=1", b"b=2&a=3"),
]


@pytest.mark.parametrize(("edits", "query", "expected"), QUERIES)
def test_the_query_is_edited_in_place(edits: QueryEdits, query: bytes | None, expected: bytes | None) -> None:
    assert QueryEditor(edits).apply(query) == expected


@given(st.lists(st.sampled_from([b"a=1", b"%61=2", b"b=%zz", b"", b"=", b"b+c=1;a=2"]), max_size=6))
def test_untouched_parameters_keep_order_and_bytes(pairs: list[bytes]) -> None:
    made = QueryEditor(QueryEdits(remove=["a"])).apply(b"&".join(pairs)) or b""
    assert made == b"&".join(pair for pair in pairs if pair not in (b"a=1", b"%61=2"))
