"""The gateway's own endpoints in a worker: what it answers alone, and what it asks control's socket for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.core.clock import monotonic
from headgate.core.failure import REASONS
from headgate.proxy import own
from headgate.proxy.own import OwnAnswer
from tests.proxy.callers import keys, static, with_key
from tests.proxy.peers import Message, Upstream, Wire, answering, eventually, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, resolved

SURFACE = [
    {"path": "/h", "view": "health"},
    {"path": "/r", "view": "ready"},
    {"path": "/l", "view": "live"},
    {"path": "/guarded", "view": "health", "auth": {"roles": ["boss"]}},
    {"path": "/status", "view": "status"},
    {"path": "/of/{service}/health", "view": "service_health"},
    {"path": "/reset/{service}", "view": "reset_breaker", "auth": {"roles": ["boss"]}},
]
IDENTITY = keys(static("boss", roles=["boss"]), static("clerk", roles=["clerk"]))
CONFIG: dict[str, Any] = {"surface": SURFACE, "identity": IDENTITY, "auth": "optional"}


def answers(status: int = 200, *states: str) -> dict[str, OwnAnswer]:
    return {state: OwnAnswer(status, b"text/plain", state.encode()) for state in states}


def tell(rig: Rig, not_ready: str = "") -> None:
    """Tell the worker what control would."""
    told = {"/h": answers(200, "now", "stale", "draining"), "/l": answers(200, "now")}
    told["/guarded"] = told["/h"]
    told["/r"] = {**answers(200, "now"), **answers(503, "starting", "draining", "dependency")}
    rig.gateway.take_own_answers(told, not_ready)


async def said(rig: Rig, path: str, *lines: str) -> tuple[int, bytes]:
    answer = await rig.ask(get(path, *lines))
    return answer.status, answer.body


@on_loop
async def test_an_answer_of_a_form_of_its_own_waits_for_the_first_word_of_control() -> None:
    shaped = {"path": "/h", "view": "health", "body": {"state": "{{ status }}"}}
    async with gateway({"surface": [shaped, {"path": "/l", "view": "live"}]}) as rig:
        asking = asyncio.ensure_future(said(rig, "/h"))
        # It waits, and others do not.
        assert (await said(rig, "/l"))[0] == 200
        assert not asking.done()
        tell(rig)
        assert await asking == (200, b"now")
        assert await said(rig, "/h") == (200, b"now")


@on_loop
async def test_health_of_a_gateway_that_begins_waits_until_it_has_been_looked_at() -> None:
    async with gateway({"surface": [{"path": "/h", "view": "health"}, {"path": "/l", "view": "live"}]}) as rig:
        asking = asyncio.ensure_future(said(rig, "/h"))
        assert (await said(rig, "/l"))[0] == 200
        assert not asking.done()
        tell(rig)
        assert await asking == (200, b"now")


@on_loop
async def test_a_gateway_that_needs_something_is_not_called_ready_before_that_was_looked_at() -> None:
    cache = {"name": "cache", "url": "redis://127.0.0.1:1", "ready": True}
    document = {
        "health": {"dependencies": [cache]},
        "surface": [{"path": "/r", "view": "ready"}, {"path": "/l", "view": "live"}],
    }
    for path in ("/r", "/ready"):
        async with gateway(document) as rig:
            asking = asyncio.ensure_future(said(rig, path))
            assert (await said(rig, "/l"))[0] == 200
            assert not asking.done()
            rig.gateway.own.take({}, "cache")
            assert (await asking)[0] == 503


@on_loop
async def test_who_asks_as_nobody_may_is_told_at_once() -> None:
    async with gateway({"surface": [{"path": "/h", "view": "health"}]}) as rig:
        asking = asyncio.ensure_future(said(rig, "/h"))
        for path in ("/h", "/health"):
            assert (await rig.ask(get(path, method="POST"), "POST")).status == 405
        assert not asking.done()
        tell(rig)
        assert await asking == (200, b"now")


@on_loop
async def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_FIRST_WORD", 0.0)
    async with gateway({"surface": [{"path": "/h", "view": "health", "body": {"state": "{{ status }}"}}]}) as rig:
        for _ in range(2):
            status, body = await said(rig, "/h")
            assert (status, json.loads(body)["status"]) == (200, "healthy")


@on_loop
async def test_who_asks_for_health_is_told_what_control_sees_now() -> None:
    async with gateway({**CONFIG, "surface": SURFACE[:3]}) as rig:
        asked: list[dict[str, Any]] = []
        rig.gateway.tell = lambda message: not asked.append(message)  # type: ignore[func-returns-value]
        now = {"/h": answers(200, "now"), "/l": answers(200, "now")}
        rig.gateway.take_own_answers(now, "", monotonic() - 1, 0.0)
        asking = [asyncio.ensure_future(said(rig, "/h")) for _ in range(2)]
        # Only health asks, once for all who wait.
        assert (await said(rig, "/l"))[0] == 200
        await eventually(lambda: len(asked) > 0)
        assert asked == [{"type": "own_answers"}]
        # What was on its way already is older than the question.
        rig.gateway.take_own_answers(now, "", monotonic() - 1, 0.0)
        assert not any(each.done() for each in asking)
        newer = {"/h": {"now": OwnAnswer(200, b"text/plain", b"newer")}}
        rig.gateway.take_own_answers(newer, "", monotonic(), 0.0)
        assert [await each for each in asking] == [(200, b"newer")] * 2


@on_loop
async def test_health_does_not_wait_for_what_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway({**CONFIG, "surface": SURFACE[:3]}) as rig:
        asked: list[dict[str, Any]] = []
        told = {"/h": answers(200, "now")}
        # Control is away; then there, and does not answer; then it has so much to tell that nobody waits for it.
        rig.gateway.take_own_answers(told, "", 0.0, 0.0)
        rig.gateway.tell = lambda message: False
        assert await said(rig, "/h") == (200, b"now")
        rig.gateway.tell = lambda message: not asked.append(message)  # type: ignore[func-returns-value]
        for _ in range(2):
            assert await said(rig, "/h") == (200, b"now")
        assert len(asked) == 1
        rig.gateway.take_own_answers(told, "", monotonic() - 1, monotonic() + 1000)
        monkeypatch.setattr(own, "_NEXT_WORD", 1000.0)
        assert await said(rig, "/h") == (200, b"now")
        # What is new is not asked for.
        rig.gateway.take_own_answers(told, "", monotonic() + 1000, 0.0)
        assert await said(rig, "/h") == (200, b"now")
        assert len(asked) == 1


@on_loop
async def test_a_worker_answers_by_what_it_was_told_and_by_what_it_knows() -> None:
    async with gateway(CONFIG) as rig:
        # Of these endpoints nothing was told.
        rig.gateway.own.take({}, "")
        assert json.loads((await said(rig, "/h"))[1])["status"] == "healthy"
        assert await said(rig, "/r") == (200, b'{"status": "ready"}')
        tell(rig)
        assert await said(rig, "/h") == (200, b"now")
        assert await said(rig, "/r") == (200, b"now")
        assert await said(rig, "/l") == (200, b"now")
        tell(rig, "redis")
        assert await said(rig, "/r") == (503, b"dependency")
        rig.gateway.own.at -= own.STALE_AFTER
        assert await said(rig, "/h") == (200, b"stale")
        # Nobody knows any more.
        assert await said(rig, "/r") == (200, b"now")
        rig.gateway.set_ready(False)
        assert await said(rig, "/r") == (503, b"starting")
        client = await rig.client()
        rig.gateway.draining = True
        for path, state in (("/h", b"draining"), ("/r", b"draining")):
            await client.send(get(path))
            assert (await client.answer()).body == state
        rig.gateway.draining = False


@on_loop
async def test_each_is_counted_as_a_route_of_its_own() -> None:
    async with gateway(CONFIG) as rig:
        tell(rig)
        for method, path in (("GET", "/h"), ("POST", "/h"), ("GET", "/l"), ("GET", "/guarded"), ("GET", "/nothing")):
            await rig.ask(get(path, method=method))
        assert rig.counted("requests_total", route="own /h", status="200") == 1
        assert rig.counted("requests_total", route="own /h", status="405") == 1
        assert rig.counted("requests_total", route="own /l") == 1
        assert rig.counted("requests_total", route="own /guarded", status="401") == 1
        assert rig.counted("requests_total", route="", status="404") == 1


@on_loop
async def test_reading_only_and_head_without_a_body() -> None:
    async with gateway(CONFIG) as rig:
        tell(rig)
        head = await rig.ask(get("/h", method="HEAD"), "HEAD")
        assert (head.status, head.get("content-length"), head.body) == (200, "3", b"")
        for path in ("/h", "/health", "/guarded", "/status", "/of/x/health"):
            answer = await rig.ask(get(path, method="POST"), "POST")
            assert (answer.status, answer.get("allow")) == (405, "GET, HEAD"), path


@on_loop
async def test_health_may_ask_who_asks() -> None:
    async with gateway(CONFIG) as rig:
        tell(rig)
        assert (await said(rig, "/guarded"))[0] == 401
        assert (await said(rig, "/guarded", with_key("clerk")))[0] == 403
        assert await said(rig, "/guarded", with_key("boss")) == (200, b"now")


@on_loop
async def test_own_endpoints_are_matched_before_a_catch_all_and_carry_what_all_answers_carry() -> None:
    seen: list[Message] = []
    cors = {"origins": ["https://app.example"]}
    async with Upstream(answering(lambda _: ok(b"user"), seen)) as upstream:
        services = [{"name": "all", "url": upstream.url, "routes": [{"name": "all"}], "auth": "none"}]
        async with gateway({**CONFIG, "services": services, "cors": cors, "security_headers": "api"}) as rig:
            tell(rig)
            for path in ("/h", "/status", "/of/x/health"):
                answer = await rig.ask(get(path, "Origin: https://app.example"))
                # Of an item that control answers there is nobody to ask here.
                assert answer.status == (200 if path == "/h" else 503)
                assert answer.get("access-control-allow-origin") == "https://app.example"
                assert answer.get("x-content-type-options") == "nosniff"
                assert answer.get("x-request-id")
            assert (await said(rig, "/h/below"))[1] == b"user"
            assert (await said(rig, "/of/x/other"))[1] == b"user"
            assert len(seen) == 2


@on_loop
async def test_limits_of_the_gateway_hold_but_for_health() -> None:
    limits = [{"name": "few", "key": ["address"], "requests": 2, "window": 60}]
    async with gateway({**CONFIG, "limits": limits}) as rig:
        tell(rig)
        assert [(await said(rig, "/h"))[0] for _ in range(5)] == [200] * 5
        assert [(await said(rig, "/status"))[0] for _ in range(3)] == [503, 503, 429]


@on_loop
async def test_a_slash_behind_an_own_path_counts_for_nothing(tmp_path: Path) -> None:
    seen: list[Message] = []
    socket = str(tmp_path / "own.sock")
    proxy = {"path": "/by/{service}/{path}", "view": "proxy", "auth": "none"}
    async with (
        Upstream(answering(lambda _: ok(b"control"), seen), unix=socket),
        Upstream(answering(lambda _: ok(b"user"), seen)) as upstream,
        gateway(CONFIG) as rig,
    ):
        services = [{"name": "all", "url": upstream.url, "routes": [{"name": "all"}], "auth": "none"}]
        config = {**CONFIG, "surface": [*SURFACE, proxy], "services": services}
        rig.gateway.apply(replace(resolved(config), surface_socket=socket), rig.sockets)
        tell(rig)
        for path in ("/h", "/l"):
            assert await said(rig, f"{path}/") == (200, b"now")
        assert (await said(rig, "/guarded/"))[0] == 401
        assert (await said(rig, "/health//"))[0] == 200
        assert (await rig.ask(get("/h/", method="POST"), "POST")).status == 405
        assert rig.counted("requests_total", route="own /h", method="GET") == 1
        for path in ("/status/", "/of/all/health/", "/reset/all/"):
            method = "POST" if "reset" in path else "GET"
            assert (await rig.ask(get(path, with_key("boss"), method=method), method)).body == b"control"
        for path in ("/h/below/", "/", "/by/all/below/"):
            assert (await said(rig, path))[1] == b"user"
        asked = ["/status", "/of/all/health", "/reset/all", "/h/below/", "/", "/below/"]
        assert [request.target for request in seen] == asked


@asynccontextmanager
async def before_control(socket: str) -> AsyncIterator[Rig]:
    """A worker whose own endpoints are answered at this socket."""
    async with gateway(CONFIG) as rig:
        rig.gateway.apply(replace(resolved(CONFIG), surface_socket=socket), rig.sockets)
        yield rig


@on_loop
async def test_control_is_told_who_asks_and_nothing_of_what_was_shown(tmp_path: Path) -> None:
    seen: list[Message] = []
    socket = str(tmp_path / "own.sock")
    answer = answering(lambda _: ok(b"{}", "Content-Type: application/json"), seen)
    async with Upstream(answer, unix=socket), before_control(socket) as rig:
        spoofed = 'X-Headgate-Caller: {"kind": "operator"}'
        request = get("/reset/chat?x=1", with_key("boss"), spoofed, "Cookie: a=b", "Accept: text/plain", method="POST")
        assert (await rig.ask(request, "POST")).status == 200
        (asked,) = seen
        assert (asked.method, asked.target) == ("POST", "/reset/chat?x=1")
        caller = json.loads(asked.get("x-headgate-caller") or "")
        assert (caller["kind"], caller["id"], caller["address"]) == ("api_key", "boss", "127.0.0.1")
        assert asked.get("accept") == "text/plain"
        assert not {"x-api-key", "cookie", "authorization"} & {name for name, _ in asked.fields}


@on_loop
async def test_a_crowd_that_asks_control_waits_in_the_worker(tmp_path: Path) -> None:
    socket, most = str(tmp_path / "own.sock"), 16
    async with Upstream(unix=socket) as control, before_control(socket) as rig:
        clients = [await rig.client() for _ in range(2 * most)]
        for client in clients:
            await client.send(get("/status"))
        await eventually(lambda: rig.gateway.in_flight == 2 * most)
        links = [await control.accepted() for _ in range(most)]
        for link in 2 * links:
            await link.message()
            await link.send(ok(b"{}"))
        for client in clients:
            assert (await client.answer()).status == 200
        assert len(control.links) == most


@on_loop
async def test_those_whom_control_was_answering_when_it_died_ask_its_successor(tmp_path: Path) -> None:
    socket, crowd = str(tmp_path / "own.sock"), 8
    dying: list[Wire] = []

    async def play(link: Wire) -> None:
        while True:
            request = await link.message()
            if request.method == "POST":
                link.close()
            elif len(dying) == crowd:
                await link.send(ok(b"{}"))
            else:
                dying.append(link)
                if len(dying) == crowd:
                    for each in dying:
                        each.close()

    async with Upstream(play, unix=socket), before_control(socket) as rig:
        clients = [await rig.client() for _ in range(crowd)]
        for client in clients:
            await client.send(get("/status"))
        for client in clients:
            assert (await client.answer()).status == 200
        # What a hand does is not done twice.
        assert (await rig.ask(get("/reset/chat", with_key("boss"), method="POST"), "POST")).status == 502


def test_an_item_that_control_answers_wins_over_the_short_form_too() -> None:
    answers_ = own.LocalAnswers()
    answers_.follow(resolved({"surface": [{"path": "/health", "view": "status"}]}))
    assert set(answers_) == {"/ready"}


def test_an_unknown_service_has_a_reason_of_its_own() -> None:
    assert REASONS["service_not_found"].status == 404


@pytest.mark.parametrize("view", ["health", "ready", "live"])
def test_an_item_wins_over_the_short_form(view: str) -> None:
    answers_ = own.LocalAnswers()
    answers_.follow(resolved({"surface": [{"path": "/health", "view": view, "methods": ["GET", "POST"]}]}))
    found = answers_["/health"]
    assert isinstance(found, own.LocalAnswer)
    assert found._methods == ["GET", "POST", "HEAD"]
