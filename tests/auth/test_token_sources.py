"""Where tokens are found, and that they are gone afterwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.auth.token_sources import Source, TokenSources, parse_source
from headgate.core.message import Fields
from tests.auth.heads import head


def find(source: str, *fields: tuple[bytes, bytes], query: bytes | None = None) -> bytes | None:
    return TokenSources([source]).find(head(*fields, query=query), lambda token: True)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("header:Authorization", Source("header", b"authorization")),
        ("header:X-Token", Source("header", b"x-token")),
        ("cookie:__Host-session", Source("cookie", b"__Host-session")),
        ("query:access_token", Source("query", b"access_token")),
    ],
)
def test_sources_are_read(text: str, source: Source) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize(
    "text",
    ["", "header", "header:", "Header:X", "header: X", "header:a b", "header:é", "cookie:a=b", "cookie:a;b",
     "query:a&b", "query:", "body:x", "header:X\n", "header:" + "x" * 101],
)  # fmt: skip
def test_other_texts_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected header:NAME, cookie:NAME or query:NAME"):
        parse_source(text)


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"Bearer a.b.c", b"a.b.c"),
        (b"bearer a.b.c", b"a.b.c"),
        (b"BEARER   a.b.c  ", b"a.b.c"),
        (b"Bearer a.b.c d", b"a.b.c d"),
        (b"Bearer ", b""),
        (b"Bearer", None),
        (b"Bearera.b.c", None),
        (b"Bearer\ta.b.c", None),
        (b"Basic a.b.c", None),
        (b"a.b.c", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_authorization_stands_behind_bearer(value: bytes, token: bytes | None) -> None:
    assert find("header:Authorization", (b"authorization", value)) == token
    assert find("header:authorization", (b"X", b"y"), (b"AUTHORIZATION", value)) == token


def test_authorization_may_do_without_bearer_where_that_is_said() -> None:
    bare = TokenSources(["header:Authorization"], bare=True)
    for value, token in ((b"a.b.c", b"a.b.c"), (b"Bearer a.b.c", b"a.b.c"), (b"Basic x", b"Basic x")):
        assert bare.find(head((b"Authorization", value)), lambda token: True) == token
    shown = head((b"Authorization", b"a.b.c"))
    bare.hide(shown, lambda token: True)
    assert shown.fields == []


def test_other_headers_hold_a_token_with_bearer_or_without() -> None:
    assert find("header:X-Token", (b"X-Token", b"a.b.c")) == b"a.b.c"
    assert find("header:X-Token", (b"x-token", b"Bearer a.b.c")) == b"a.b.c"
    assert find("header:X-Token", (b"x-tokem", b"a.b.c")) is None
    assert find("header:X-Token") is None


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"session=a.b.c", b"a.b.c"),
        (b"x=1; session=a.b.c; y=2", b"a.b.c"),
        (b"x=1;session=a.b.c", b"a.b.c"),
        (b'session="a.b.c"', b"a.b.c"),
        (b"session=a=b", b"a=b"),
        (b"session=", b""),
        (b"session", None),
        (b"Session=a.b.c", None),
        (b"xsession=a.b.c", None),
        (b"", None),
    ],
)
def test_cookies(value: bytes, token: bytes | None) -> None:
    assert find("cookie:session", (b"Cookie", value)) == token


@given(st.text(st.sampled_from('s =;\t"x'), max_size=12))
def test_cookies_are_found_as_whoever_parts_them_at_semicolons_finds_them(text: str) -> None:
    pairs = [pair.partition("=") for pair in text.split(";")]
    values = [value.strip(" \t") for name, equals, value in pairs if equals and name.strip(" \t") == "s"]
    bare = [value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value for value in values]
    expected = ", ".join(dict.fromkeys(bare)).encode() if bare else None
    made = head((b"Cookie", text.encode()), (b"X", b"kept"))
    assert TokenSources(["cookie:s"]).find(made, lambda _: True) == expected
    TokenSources(["cookie:s"]).hide(made, lambda _: True)
    assert TokenSources(["cookie:s"]).find(made, lambda _: True) is None


@pytest.mark.parametrize(
    ("query", "token"),
    [
        (b"token=a.b.c", b"a.b.c"),
        (b"x=1&token=a.b.c&y=2", b"a.b.c"),
        (b"token=a%2Eb%2ec", b"a.b.c"),
        (b"%74oken=a.b.c", b"a.b.c"),
        (b"token", None),
        (b"Token=a.b.c", None),
        (b"token=%zz", b"%zz"),
        (b"", None),
        (None, None),
    ],
)
def test_queries(query: bytes | None, token: bytes | None) -> None:
    assert find("query:token", query=query) == token


@pytest.mark.parametrize(
    ("source", "fields", "query", "both"),
    [
        ("header:Authorization", [(b"Authorization", b"Bearer one"), (b"authorization", b"Bearer two")], None,
         b"one, Bearer two"),
        ("header:X", [(b"X", b"one"), (b"x", b"two")], None, b"one, two"),
        ("cookie:s", [(b"Cookie", b"s=one; s=two")], None, b"one, two"),
        ("cookie:s", [(b"Cookie", b"s=one"), (b"Cookie", b"s=two")], None, b"one, two"),
        ("query:t", [], b"t=one&t=two", b"one, two"),
    ],
)  # fmt: skip
def test_two_tokens_in_one_place_are_one_text_that_is_none(
    source: str, fields: Fields, query: bytes | None, both: bytes
) -> None:
    assert find(source, *fields, query=query) == both


def test_the_same_token_twice_is_one() -> None:
    assert find("header:X", (b"X", b"one"), (b"X", b"one")) == b"one"
    assert find("cookie:s", (b"Cookie", b"s=one; s=one")) == b"one"
    assert find("query:t", query=b"t=one&t=one") == b"one"


def test_places_are_looked_at_in_their_order_and_what_is_not_taken_is_passed_over() -> None:
    sources = TokenSources(["query:t", "cookie:s", "header:Authorization"])
    request = head((b"Authorization", b"Bearer h"), (b"Cookie", b"s=c"), query=b"t=q")
    assert sources.find(request, lambda token: True) == b"q"
    assert sources.find(request, lambda token: token != b"q") == b"c"
    assert sources.find(request, lambda token: token == b"h") == b"h"
    assert sources.find(request, lambda token: False) is None


def test_tokens_are_taken_off_and_everything_else_stays() -> None:
    sources = TokenSources(["query:t", "cookie:s", "header:Authorization", "header:X"])
    request = head(
        (b"Accept", b"*/*"),
        (b"Authorization", b"Bearer gone"),
        (b"Cookie", b"a=1;  s=gone; b=2"),
        (b"cookie", b"s=gone"),
        (b"X", b"stays"),
        query=b"a=1&%74=gone&b=%20&t=gone",
    )
    sources.hide(request, lambda token: token == b"gone")
    assert request.fields == [(b"Accept", b"*/*"), (b"Cookie", b"a=1; b=2"), (b"X", b"stays")]
    assert request.query == b"a=1&b=%20"
    only = head((b"Authorization", b"Bearer gone"), query=b"t=gone")
    sources.hide(only, lambda token: True)
    assert (only.fields, only.query) == ([], None)


@given(st.lists(st.tuples(st.sampled_from([b"Authorization", b"Cookie", b"X"]), st.binary(max_size=40))), st.binary())
def test_any_bytes_are_looked_through(fields: Fields, query: bytes) -> None:
    sources = TokenSources(["header:Authorization", "header:X", "cookie:s", "query:t"])
    request = head(*fields, query=query)
    sources.find(request, lambda token: False)
    sources.hide(request, lambda token: True)
    assert sources.find(request, lambda token: True) is None
