"""Opaque tokens on real sockets: who is asked how often, and what requests get while nobody answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.proxy.peers import Message, Upstream, answering, eventually, free_port, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to
from tests.wire.certificates import Authority

GOOD = {"active": True, "sub": "ann", "scope": "read"}
TOKEN = "canary-4711"


def knowing(answer: Callable[[str], Any], asked: list[Message] | None = None) -> Upstream:
    """Make a server that says of each token what `answer` returns."""

    def say(request: Message) -> bytes:
        return ok(json.dumps(answer(parse_qs(request.body.decode())["token"][0])).encode())

    return Upstream(answering(say, asked))


def fine(seen: list[Message] | None = None) -> Upstream:
    return Upstream(answering(lambda _: ok(b"fine"), seen))


def asking(server: Upstream | str | list[str], **more: Any) -> dict[str, Any]:
    url = server if isinstance(server, str | list) else f"{server.url}/introspect"
    return {"identity": {"introspection": {"url": url, "timeout": 10, **more}, "forward": {"X-User": "id"}}}


async def status(rig: Rig, token: str = TOKEN) -> int:
    return (await rig.ask(get("/", f"Authorization: Bearer {token}"))).status


@on_loop
async def test_a_good_token_is_asked_about_once_and_its_holder_told_upstream() -> None:
    asked: list[Message] = []
    seen: list[Message] = []
    async with (
        knowing(lambda _: GOOD, asked) as server,
        fine(seen) as upstream,
        gateway(to(upstream, **asking(server, client_id="gate", client_secret="pass"))) as rig,
    ):
        for _ in range(5):
            assert await status(rig) == 200
    assert len(asked) == 1
    assert asked[0].start == "POST /introspect HTTP/1.1"
    assert asked[0].get("authorization") == "Basic Z2F0ZTpwYXNz"
    assert parse_qs(asked[0].body.decode())["token"] == [TOKEN]
    assert {request.get("x-user") for request in seen} == {"ann"}


@on_loop
async def test_a_hundred_at_once_with_one_token_are_one_question() -> None:
    async with Upstream() as server, fine() as upstream, gateway(to(upstream, **asking(server))) as rig:
        clients = [await rig.client() for _ in range(100)]
        for client in clients:
            await client.send(get("/", f"Authorization: Bearer {TOKEN}"))
        await eventually(lambda: rig.gateway.in_flight == 100)
        link = await server.accepted()
        await link.message()
        await link.send(ok(json.dumps(GOOD).encode()))
        for client in clients:
            assert (await client.answer()).status == 200
        assert len(server.links) == 1


@on_loop
async def test_the_one_who_asked_leaves_and_the_others_are_told_all_the_same() -> None:
    async with Upstream() as server, fine() as upstream, gateway(to(upstream, **asking(server))) as rig:
        first, second = await rig.client(), await rig.client()
        await first.send(get("/", f"Authorization: Bearer {TOKEN}"))
        link = await server.accepted()
        await link.message()
        await second.send(get("/", f"Authorization: Bearer {TOKEN}"))
        await eventually(lambda: rig.gateway.in_flight == 2)
        first.cut()
        await eventually(lambda: rig.gateway.in_flight == 1)
        await link.send(ok(json.dumps(GOOD).encode()))
        assert (await second.answer()).status == 200
        assert await status(rig) == 200


@on_loop
async def test_a_token_that_is_not_active_is_a_401_that_says_nothing_of_it() -> None:
    async with (
        knowing(lambda _: {"active": False}) as server,
        fine() as upstream,
        gateway(to(upstream, **asking(server))) as rig,
    ):
        answer = await rig.ask(get("/", f"Authorization: Bearer {TOKEN}"))
        assert answer.status == 401
        assert answer.get("www-authenticate") == 'Bearer realm="headgate", error="invalid_token"'
        assert TOKEN.encode() not in answer.body
        (line,) = await rig.logged()
        assert TOKEN not in json.dumps(line)


@pytest.mark.parametrize(
    "play",
    [
        answering(lambda _: ok(b"", status=500)),
        answering(lambda _: ok(b"", status=401)),
        answering(lambda _: ok(b'{"active": "yes"}')),
        answering(lambda _: ok(b"<html>")),
        answering(lambda _: ok(b"x" * 100_000)),
        answering(lambda _: b"\x00\x00garbage\r\n\r\n"),
        answering(lambda _: ok(json.dumps(GOOD).encode(), "Location: http://127.0.0.1:1/", status=307)),
    ],
)
def test_what_is_no_answer_is_an_outage(play: Any) -> None:
    @on_loop
    async def scenario() -> None:
        async with Upstream(play) as server, fine() as upstream, gateway(to(upstream, **asking(server))) as rig:
            answer = await rig.ask(get("/", f"Authorization: Bearer {TOKEN}"))
            assert (answer.status, json.loads(answer.body)["reason"]) == (503, "identity_unavailable")
            assert TOKEN.encode() not in answer.body
            (line,) = await rig.logged()
            assert TOKEN not in json.dumps(line)

    scenario()


@on_loop
async def test_nobody_is_there_or_says_anything() -> None:
    async with Upstream() as server, fine() as upstream:
        async with gateway(to(upstream, **asking(f"http://127.0.0.1:{free_port()}/"))) as rig:
            assert await status(rig) == 503
        async with gateway(to(upstream, **asking(server, timeout=0.1))) as rig:
            assert await status(rig) == 503


@on_loop
async def test_another_server_is_asked_where_one_cannot_be_reached() -> None:
    asked: list[Message] = []
    away = f"http://127.0.0.1:{free_port()}"
    async with knowing(lambda token: {"active": token == TOKEN, "sub": "ann"}, asked) as server, fine() as upstream:
        async with gateway(to(upstream, **asking([away, server.url], path="/introspect"))) as rig:
            assert [await status(rig), await status(rig, "other")] == [200, 401]
        async with gateway(to(upstream, **asking([away, away]))) as rig:
            assert await status(rig) == 503
    assert [each.start for each in asked] == ["POST /introspect HTTP/1.1"] * 2


@on_loop
async def test_keys_that_are_not_known_here_are_asked_about() -> None:
    def say(request: Message) -> bytes:
        asked.append(json.loads(request.body)["api_key"])
        return ok(json.dumps({"id": "k7"}).encode(), status=200 if asked[-1] == "voc_remote" else 401)

    asked: list[str] = []
    async with Upstream(answering(say)) as server, fine() as upstream:
        local = {"prefix": "voc_", "database": False, "unknown": "ask"}
        local["static"] = [{"id": "k1", "hash": "sha256:" + sha256(b"voc_local").hexdigest()}]
        remote: dict[str, Any] = {"url": f"{server.url}/validate-key", "form": "json", "field": "api_key", "active": ""}
        remote |= {"prefix": "voc_", "kind": "api_key", "sources": ["header:X-API-Key", "header:Authorization"]}
        async with gateway(to(upstream, identity={"api_keys": local, "introspection": remote})) as rig:
            keys = ["voc_local", "voc_remote", "voc_remote", "voc_wrong", "no key"]
            answers = [await rig.ask(get("/", f"X-API-Key: {key}")) for key in keys]
            assert [answer.status for answer in answers] == [200, 200, 200, 401, 401]
            assert {each.json()["reason"] for each in answers[3:]} == {"invalid_api_key"}
            assert await status(rig, "voc_remote") == 200
    assert asked == ["voc_remote", "voc_wrong"]


@on_loop
async def test_each_server_has_its_own_time() -> None:
    async with Upstream() as server, fine() as upstream:
        ways = [
            {"name": name, "prefix": f"{name}-", "url": f"{server.url}/", "timeout": seconds}
            for name, seconds in (("slow", 20), ("quick", 0.05))
        ]
        async with gateway(to(upstream, identity={"introspection": ways})) as rig:
            waiting = asyncio.ensure_future(status(rig, "slow-1"))
            link = await server.accepted()
            await link.message()
            assert await status(rig, "quick-1") == 503
            assert not waiting.done()
            await link.send(ok(json.dumps(GOOD).encode()))
            assert await waiting == 200


def test_the_server_shows_who_it_is(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "Stranger")
    context = authority.server_context("127.0.0.1")

    @on_loop
    async def scenario() -> None:
        async with (
            Upstream(answering(lambda _: ok(json.dumps(GOOD).encode())), tls=context) as server,
            fine() as upstream,
        ):
            for ca, expected in ((authority.path, 200), (stranger.path, 503), (None, 503)):
                async with gateway(to(upstream, **asking(server, ca=ca))) as rig:
                    assert await status(rig) == expected

    scenario()


@on_loop
async def test_an_outage_ends_with_the_first_answer() -> None:
    said: list[bytes] = [ok(b"", status=503), ok(json.dumps(GOOD).encode())]
    async with (
        Upstream(answering(lambda _: said.pop(0))) as server,
        fine() as upstream,
        gateway(to(upstream, **asking(server))) as rig,
    ):
        assert [await status(rig), await status(rig), await status(rig)] == [503, 200, 200]


@on_loop
async def test_a_reload_keeps_connections_and_verdicts() -> None:
    asked: list[Message] = []
    async with knowing(lambda _: GOOD, asked) as server, fine() as upstream:
        document = to(upstream, **asking(server))
        async with gateway(document) as rig:
            assert await status(rig) == 200
            rig.apply(document)
            assert await status(rig) == 200
            assert await status(rig, "another") == 200
            assert (len(asked), len(server.links)) == (2, 1)
            rig.apply(to(upstream))
            assert await status(rig) == 200
            assert await server.links[0].rest() == b""
