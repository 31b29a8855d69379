"""Header fields that do not pass: taken off or refused, in any spelling, in heads, trailers and answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.peers import Message, Upstream, answering, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to
from tests.proxy.test_upgrades import joined

DENY = {"deny": ["X-Debug", "X-Internal-*"]}
SPELLINGS = [
    "X-Debug",
    "x-debug",
    "X-DEBUG",
    "x_debug",
    "X_Debug",
    "X-Internal-Trace",
    "x_internal_trace",
    "x-internal-",
]
CHUNKED = "Transfer-Encoding: chunked"


async def asked(rig: Rig, seen: list[Message], *lines: str) -> list[tuple[str, str]]:
    """Ask with these fields, and return those of them that the upstream saw."""
    assert (await rig.ask(get("/", *lines))).status == 200
    names = {line.partition(":")[0].lower() for line in lines}
    return [field for field in seen[-1].fields if field[0] in names]


@pytest.mark.parametrize("underscores", ["drop", "allow"])
# What stands beside it takes the slow way through the parser.
@pytest.mark.parametrize("beside", ["X-A: 1", "Connection: close", "Expect: 100-continue"])
@on_loop
async def test_a_denied_field_is_taken_off_in_any_spelling(underscores: str, beside: str) -> None:
    seen: list[Message] = []
    document: dict[str, Any] = {"header_filter": {"request": DENY}, "http": {"underscores": underscores}}
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream, gateway(to(upstream, **document)) as rig:
        for name in SPELLINGS:
            await asked(rig, seen, f"{name}: secret", beside)
            assert "secret" not in repr(seen[-1])
        assert await asked(rig, seen, "X-Debugger: 1") == [("x-debugger", "1")]


@pytest.mark.parametrize("name", SPELLINGS)
@on_loop
async def test_a_request_with_a_denied_field_is_refused(name: str) -> None:
    document: dict[str, Any] = {"header_filter": {"request": DENY, "refuse": True}, "http": {"underscores": "allow"}}
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream, gateway(to(upstream, **document)) as rig:
        answer = await rig.ask(get("/", f"{name}: secret"))
        assert (answer.status, answer.json()["reason"]) == (400, "header_refused")
        assert name.encode() not in answer.body
        assert not seen
        [line] = await rig.logged()
        assert (line["error"], line["detail"]) == ("header_refused", name)
        assert rig.counted("errors_total", reason="header_refused") == 1


@on_loop
async def test_only_allowed_fields_pass_and_what_gives_a_request_its_meaning() -> None:
    seen: list[Message] = []
    document: dict[str, Any] = {"header_filter": {"request": {"allow": ["Accept*", "Authorization"]}}}
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream, gateway(to(upstream, **document)) as rig:
        lines = ("Accept-Language: de", "Authorization: Bearer x", "If-Match: a", "Content-Type: a/b", "Origin: b")
        others = ("Cookie: a=b", "X-Other: 1", "Range: bytes=0-1")
        passed = await asked(rig, seen, *lines, *others)
        assert passed == [
            ("accept-language", "de"),
            ("authorization", "Bearer x"),
            ("if-match", "a"),
            ("content-type", "a/b"),
            ("origin", "b"),
        ]
        assert seen[-1].get("host") == upstream.url.removeprefix("http://")
        assert seen[-1].get("x-forwarded-for") == "127.0.0.1"
        assert len(str(seen[-1].get("x-request-id"))) == 36
        body = await rig.ask(get("/", method="POST", body=b"hello"))
        assert (body.status, seen[-1].body) == (200, b"hello")


@on_loop
async def test_a_websocket_opens_behind_lists_that_do_not_name_its_fields() -> None:
    document: dict[str, Any] = {"header_filter": {"request": {"allow": "Accept"}, "response": {"allow": "ETag"}}}
    async with Upstream() as upstream, gateway(to(upstream, **document)) as rig:
        client, link = await joined(rig, upstream)
        await client.send(b"\x01")
        assert await link.read(1) == b"\x01"


@on_loop
async def test_naming_a_field_in_connection_takes_nothing_off_that_the_gateway_writes() -> None:
    seen: list[Message] = []
    named = "Connection: close, X-Request-ID, X-Forwarded-For, X-Ours, Via, Host"
    document: dict[str, Any] = {
        "headers": {"request": {"set": {"X-Ours": "ours"}}},
        "header_filter": {"request": {"deny": ["X-Ours"]}},
    }
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream, gateway(to(upstream, **document)) as rig:
        assert await asked(rig, seen, named, "x-ours: theirs", "X-Request-ID: mine") == [
            ("x-request-id", "mine"),
            ("x-ours", "ours"),
        ]
        assert seen[-1].get("x-forwarded-for") == "127.0.0.1"


OF_UPSTREAM = ("Server: nginx/1.1", "X-Powered-By: PHP", "x_powered_by: PHP", "ETag: 1", "Cache-Control: private")


@pytest.mark.parametrize(
    ("lists", "passed"),
    [
        ({"deny": ["Server", "X-Powered-*"]}, ["etag", "cache-control"]),
        ({"allow": ["ETag"]}, ["etag", "cache-control"]),
        ({"allow": ["ETag", "Server"], "deny": ["cache-control"]}, ["server", "etag"]),
        ({}, ["server", "x-powered-by", "x_powered_by", "etag", "cache-control"]),
    ],
)
# A body without a length takes the slow way through the parser.
@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@on_loop
async def test_fields_of_answers(lists: dict[str, Any], passed: list[str], chunked: bool) -> None:
    def answer(_: Message) -> bytes:
        if not chunked:
            return ok(b"x", *OF_UPSTREAM)
        lines = "\r\n".join((CHUNKED, *OF_UPSTREAM))
        return f"HTTP/1.1 200 OK\r\n{lines}\r\n\r\n1\r\nx\r\n0\r\n\r\n".encode()

    document: dict[str, Any] = {"header_filter": {"response": lists}}
    async with Upstream(answering(answer)) as upstream, gateway(to(upstream, **document)) as rig:
        got = await rig.ask(get())
        names = {line.partition(":")[0].lower() for line in OF_UPSTREAM}
        assert [name for name, _ in got.fields if name in names] == passed
        assert got.body == b"x"


@on_loop
async def test_trailers_are_filtered_like_heads() -> None:
    document: dict[str, Any] = {
        "http": {"trailers": ["X-Sum", "X-Debug", "X-User", "X-Request-ID", "Content-Type"]},
        "header_filter": {"request": DENY, "response": DENY},
        "identity": {"forward": {"X-User": "id"}},
    }
    ends = b"0\r\nX-Sum: 9\r\nX-Debug: 1\r\nX-User: me\r\nX-Request-ID: 1\r\nContent-Type: a/b\r\n\r\n"
    async with Upstream() as upstream, gateway(to(upstream, **document)) as rig:
        client = await rig.client()
        await client.send(get("/", CHUNKED, method="POST"), b"2\r\nhi\r\n" + ends)
        link = await upstream.accepted()
        assert (await link.message()).trailers == [("x-sum", "9")]
        await link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n" + ends)
        answer = await client.answer()
        assert answer.trailers == [("x-sum", "9"), ("x-user", "me"), ("content-type", "a/b")]


@on_loop
async def test_a_denied_trailer_is_refused_where_denied_fields_are() -> None:
    document: dict[str, Any] = {"header_filter": {"request": DENY, "refuse": True}}
    async with Upstream() as upstream, gateway(to(upstream, **document)) as rig:
        client = await rig.client()
        await client.send(get("/", CHUNKED, method="POST"), b"2\r\nhi\r\n0\r\nX-Debug: secret\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.json()["reason"]) == (400, "header_refused")
        assert (await rig.logged())[0]["detail"] == "X-Debug"


# -- names that only the gateway writes ----------------------------------------------------------------------------


@pytest.mark.parametrize("underscores", ["drop", "allow"])
@pytest.mark.parametrize("beside", ["X-A: 1", "Connection: keep-alive, x-user", "Connection: close"])
@on_loop
async def test_what_identity_forwards_never_comes_from_a_client(underscores: str, beside: str) -> None:
    seen: list[Message] = []
    document: dict[str, Any] = {"identity": {"forward": {"X-User": "id"}}, "http": {"underscores": underscores}}
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream, gateway(to(upstream, **document)) as rig:
        for name in ("X-User", "x-user", "X-USER", "x_user", "X_User"):
            await asked(rig, seen, f"{name}: admin", beside)
            assert "admin" not in repr(seen[-1])


@on_loop
async def test_a_reload_holds_for_connections_that_were_there_before() -> None:
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda _: ok(b"x", "Server: secret", "X-Kept: 1"), seen)) as upstream,
        gateway(to(upstream)) as rig,
    ):
        client = await rig.client()
        documents: list[dict[str, Any]] = [
            {},
            {"identity": {"forward": {"X-User": "id"}}, "header_filter": {"response": {"deny": "Server"}}},
            {"header_filter": {"request": {"deny": "X-User"}}},
            {},
        ]
        for number, document in enumerate(documents):
            rig.apply(to(upstream, **document))
            await client.send(get("/", "X-User: me", "X-Kept: 1"))
            answer = await client.answer()
            assert (seen[-1].get("x-user"), seen[-1].get("x-kept")) == ("me" if number in (0, 3) else None, "1")
            assert answer.get("server") == (None if number == 1 else "secret")
        assert len(upstream.links) == 1
