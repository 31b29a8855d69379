"""Redirects and fixed answers: what they say, and where no request can lead them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.answer import FixedAnswer, Redirection, check_redirect, check_respond, fixed_answer
from headgate.policy.rewrite import Redirect, Respond

VALUES = {"host": "a.example", "path": "/x/%20y", "query": "q=1&r=%41", "params.path": "x/y", "params.id": "7"}

LOCATIONS = [
    ("https://example.com{path}", b"https://example.com/x/%20y"),
    ("https://{host}:8443{path}?{query}", b"https://a.example:8443/x/%20y?q=1&r=%41"),
    ("/new/{params.path}?id={id}&{query}", b"/new/x/y?id=7&q=1&r=%41"),
    ("{path}?moved=1", b"/x/%20y?moved=1"),
    ("/{path}", b"/x/%20y"),
    ("/fixed", b"/fixed"),
]


@pytest.mark.parametrize(("url", "location"), LOCATIONS)
def test_a_location_is_filled_from_the_request(url: str, location: bytes) -> None:
    assert list(check_redirect(Redirect(url=url), ["path", "id"])) == []
    answer = Redirection(Redirect(url=url, status=302)).answer(VALUES.get)
    assert answer == FixedAnswer(302, ((b"Location", location),), b"")


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("/a?{query}", b"/a"),
        ("/a?{query}&b=1", b"/a?b=1"),
        ("/a?b=1&{query}", b"/a?b=1"),
        ("/a?b={query}", b"/a?b="),
    ],
)
def test_an_empty_query_takes_its_mark_along(url: str, location: bytes) -> None:
    answer = Redirection(Redirect(url=url)).answer({"query": ""}.get)
    assert answer.fields == ((b"Location", location),)


@given(st.text(max_size=12), st.sampled_from(["/{params.x}", "{path}", "/a{x}", "https://h.example/{x}?{query}"]))
def test_no_value_ends_the_field_or_leads_to_another_host(value: str, url: str) -> None:
    value = value.encode("utf-8", "replace").decode()
    (name, location), *rest = Redirection(Redirect(url=url)).answer(lambda asked: value).fields
    assert (name, rest) == (b"Location", [])
    assert all(0x21 <= byte < 0x7F for byte in location)
    assert urlsplit(location.decode()).netloc == ("h.example" if url.startswith("https") else "")
    assert not location.startswith((b"//", b"/\\"))


@pytest.mark.parametrize("path", ["//evil.example", "///evil.example", "/\\evil.example"])
def test_doubled_slashes_do_not_become_a_host(path: str) -> None:
    (field,) = Redirection(Redirect(url="{path}")).answer({"path": path}.get).fields
    assert field[1] in (b"/evil.example", b"/%5Cevil.example")


REDIRECTS = [
    (Redirect(url="/a", status=304), "status", "301, 302, 303, 307, 308"),
    (Redirect(url="https://example.com{x}"), "url", "{params.x} cannot be part of the host; put a slash before it"),
    (Redirect(url="https://{path}"), "url", "name a host"),
    (Redirect(url="https://{path}.example.com/"), "url", "{path} cannot be part of the host"),
    (Redirect(url="https:///x"), "url", "name a host"),
    (Redirect(url="//example.com/"), "url", "one slash"),
    (Redirect(url="example.com/"), "url", "begin with https://"),
    (Redirect(url="javascript:{path}"), "url", "begin with https://"),
    (Redirect(url="{x}"), "url", "begin with https://"),
    (Redirect(url="/a b"), "url", "spaces"),
    (Redirect(url="/a\r\nb"), "url", "control characters"),
    (Redirect(url="/café"), "url", "%C3%A9"),
    (Redirect(url="/{y}"), "url", "nothing fills {params.y}; known here: host, path, query, params.x"),
    (Redirect(url="/{service}"), "url", "nothing fills {params.service}"),
]


@pytest.mark.parametrize(("redirect", "key", "words"), REDIRECTS)
def test_a_wrong_redirect_is_objected_to(redirect: Redirect, key: str, words: str) -> None:
    (objection,) = check_redirect(redirect, ["x"])
    assert objection.at == (key,)
    assert words in objection.message


def test_a_fixed_answer() -> None:
    assert fixed_answer(Respond(status=200, body="é", headers={"X-A": "1"})) == FixedAnswer(
        200, ((b"Content-Type", b"text/plain; charset=utf-8"), (b"X-A", b"1")), "é".encode()
    )
    assert fixed_answer(Respond(status=204)) == FixedAnswer(204, (), b"")
    assert fixed_answer(Respond(body="{}", headers={"Content-Type": "application/json"})).fields == (
        (b"Content-Type", b"application/json"),
    )


@pytest.mark.parametrize(
    ("respond", "at", "words"),
    [
        (Respond(status=204, body="x"), ("body",), "has no body"),
        (Respond(content_type="a\nb"), ("content_type",), "line breaks"),
        (Respond(headers={"Content-Length": "3"}), ("headers", "Content-Length"), "writes it itself"),
        (Respond(headers={"x": "a\r\nb"}), ("headers", "x"), "line breaks"),
    ],
)
def test_a_wrong_answer_is_objected_to(respond: Respond, at: tuple[str, ...], words: str) -> None:
    (objection,) = check_respond(respond)
    assert objection.at == at
    assert words in objection.message


def test_a_sound_answer_passes() -> None:
    assert list(check_respond(Respond(status=503, body="later", headers={"Retry-After": "30"}))) == []
