"""Questions over HTTP: bounds, refusals, and sentences that tell nothing secret."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.discovery.asking import (
    checked_secret,
    checked_url,
    lines,
    make_client,
    parsed,
    read_body,
    refuse,
    told,
)
from headgate.discovery.backoff import Throttled
from headgate.discovery.source import NotFound
from tests.discovery.stand_in import Asked, Reply, serving
from tests.loops import on_plain_loop


def answer(*pieces: bytes, status: int = 200, **fields: str) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return httpx.Response(
        status, headers={name.replace("_", "-"): field for name, field in fields.items()}, content=body()
    )


@on_plain_loop
async def test_a_body_is_read_within_its_bound() -> None:
    assert await read_body(answer(b"ab", b"c"), most=3) == b"abc"
    with pytest.raises(NotFound, match="more than 3 bytes"):
        await read_body(answer(b"ab", b"cd"), most=3)
    with pytest.raises(NotFound, match="packed"):
        await read_body(answer(b"ab", content_encoding="gzip"))


@given(st.lists(st.binary(max_size=6).map(lambda each: each.replace(b"\r", b"\n")), max_size=12))
def test_lines_are_those_that_have_an_end(pieces: list[bytes]) -> None:
    @on_plain_loop
    async def play() -> None:
        found = [line async for line in lines(answer(*pieces))]
        assert found == b"".join(pieces).split(b"\n")[:-1]

    play()


@on_plain_loop
async def test_a_line_without_end_is_not_waited_for() -> None:
    with pytest.raises(NotFound, match="a line of more than 10 bytes"):
        async for _ in lines(answer(*[b"abc"] * 100), most=10):
            pass


@pytest.mark.parametrize(
    ("status", "after", "wait"), [(429, "7", 7), (503, "9999", 300), (429, "soon", 0), (500, "7", 0)]
)
def test_who_asks_to_be_left_alone_is(status: int, after: str, wait: float) -> None:
    with pytest.raises(NotFound, match=f"status {status}") as raised:
        refuse(answer(status=status, retry_after=after))
    assert (raised.value.wait if isinstance(raised.value, Throttled) else 0) == wait


def test_a_redirect_is_a_refusal_and_a_hint_is_told() -> None:
    refuse(answer())
    with pytest.raises(NotFound, match="status 302"):
        refuse(answer(status=302, location="http://elsewhere/"))
    with pytest.raises(NotFound, match="status 403: the token"):
        refuse(answer(status=403), "the token")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ReadTimeout("GET http://u:p4ss@h"), "no answer in time"),
        (TimeoutError(), "no answer in time"),
        (httpx.LocalProtocolError("Illegal header value b'p4ss'"), "LocalProtocolError"),
        (httpx.ConnectError("all failed"), "no connection"),
        (ValueError("no such file"), "no such file"),
    ],
)
def test_sentences_hold_nothing_of_what_was_asked(error: Exception, words: str) -> None:
    with pytest.raises(NotFound, match=words) as raised, told():
        raise error
    assert "p4ss" not in str(raised.value)


@pytest.mark.parametrize("url", ["unix:/x", "ftp://h", "h:80", "http://u:p4ss@h", "http://h?x", "http://h#x"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError) as raised:
        checked_url(url)
    assert "p4ss" not in str(raised.value)
    assert checked_url("http://h:80/base/") == "http://h:80/base"


def test_secrets_that_no_field_can_hold() -> None:
    assert checked_secret("a b", "the token") == "a b"
    for text in ("a\nb", "\u00e9", "a\0"):
        with pytest.raises(ValueError, match="the token has characters"):
            checked_secret(text, "the token")


def test_what_is_no_json() -> None:
    assert parsed(b" [1] ") == [1]
    for body in (b"", b"{", b"NaN", b'{"a":1,"a":2}', b"[" * 100 + b"]" * 100):
        with pytest.raises(NotFound, match="cannot be read"):
            parsed(body)


@on_plain_loop
async def test_a_proxy_of_the_environment_is_not_asked_and_no_redirect_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def elsewhere(asked: Asked, reply: Reply) -> None:
        reply.json([], 302, {"Location": "/b"})

    async with serving(elsewhere) as server:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        async with make_client(server.url, 5) as client:
            assert (await client.get(f"{server.url}/a")).status_code == 302
        assert [each.path for each in server.asked] == ["/a"]
        assert server.asked[0].fields["accept-encoding"] == "identity"


def test_a_file_that_is_no_certificate_is_told() -> None:
    with pytest.raises(NotFound), told():
        make_client("https://h", 5, ca=__file__)
    assert isinstance(make_client("https://h", 5), httpx.AsyncClient)
