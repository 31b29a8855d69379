"""Signed tokens on their way through the gateway: where they stand, how long they are good, what they cannot do."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from headgate.proxy import way
from tests.auth.tokens import SECRET, private_key, public_jwk, public_pem, token
from tests.proxy.peers import Message, Upstream, answering, get, ok
from tests.proxy.stage import gateway, on_loop, to

HOUR = 3600.0


def told(request: Message) -> bytes:
    """Answer with what came."""
    seen = {"target": request.target, **{name: request.get(name) for name in ("authorization", "cookie", "x-user")}}
    return ok(json.dumps(seen).encode())


def shown(claims: dict[str, Any] | None = None, **more: Any) -> str:
    return token({"exp": time.time() + HOUR, **(claims or {})}, **more).decode()


def bearer(credential: str) -> str:
    return f"Authorization: Bearer {credential}"


def identity(issuer: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"jwt": [issuer], "forward": {"X-User": "id"}, **more}


@pytest.mark.parametrize("hidden", [False, True])
@on_loop
async def test_a_token_is_taken_from_where_it_may_stand_and_taken_off_if_it_is_to_be(hidden: bool) -> None:
    issuer = {"secret": SECRET, "sources": ["header:Authorization", "cookie:session", "query:token"]}
    good = shown()
    async with (
        Upstream(answering(told)) as upstream,
        gateway(to(upstream, identity=identity(issuer, hide_credentials=hidden))) as rig,
    ):
        for request, left in (
            (get("/x?a=1", bearer(good)), {"target": "/x?a=1"}),
            (get("/x?a=1", f"Cookie: a=1; session={good}; b=2"), {"target": "/x?a=1", "cookie": "a=1; b=2"}),
            (get(f"/x?a=1&token={good}&b=2"), {"target": "/x?a=1&b=2"}),
            (get(f"/x?token={good}"), {"target": "/x"}),
        ):
            answer = await rig.ask(request)
            assert answer.status == 200
            seen = json.loads(answer.body)
            assert seen["x-user"] == "ann"
            if hidden:
                assert {key: value for key, value in seen.items() if value and key != "x-user"} == left
            else:
                assert good in answer.body.decode()
        assert good not in json.dumps(rig.log)
        assert good.rpartition(".")[2] not in json.dumps(rig.log)


@on_loop
async def test_a_token_is_good_by_the_clock_on_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    good = shown({"exp": now + 100, "nbf": now - 100})
    clock = [now]
    monkeypatch.setattr(way, "wall", lambda: clock[0])
    async with (
        Upstream(answering(lambda _: ok(b"fine"))) as upstream,
        gateway(to(upstream, identity=identity({"secret": SECRET}))) as rig,
    ):
        for at, reason in (
            (0.0, None),
            (50.0, None),
            # Beyond exp, and within the skew: judged anew each time, and still good.
            (110.0, None),
            (131.0, "expired_token"),
            (HOUR, "expired_token"),
        ):
            clock[0] = now + at
            answer = await rig.ask(get("/x", bearer(good)))
            assert (answer.status, None if reason is None else json.loads(answer.body)["reason"]) == (
                (200, None) if reason is None else (401, reason)
            )


@on_loop
async def test_a_clock_that_goes_back_makes_no_token_good_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    clock = [now - HOUR]
    monkeypatch.setattr(way, "wall", lambda: clock[0])
    early = shown({"nbf": now, "iat": now, "exp": now + 2 * HOUR})
    async with (
        Upstream(answering(lambda _: ok(b"fine"))) as upstream,
        gateway(to(upstream, identity=identity({"secret": SECRET}))) as rig,
    ):
        assert (await rig.ask(get("/x", bearer(early)))).status == 401
        clock[0] = now
        assert (await rig.ask(get("/x", bearer(early)))).status == 200


@on_loop
async def test_nothing_that_a_token_names_is_fetched(tmp_path: Path) -> None:
    hits = 0

    async def hit(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal hits
        hits += 1
        writer.close()

    server = await asyncio.start_server(hit, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    (tmp_path / "public.pem").write_text(public_pem("RSA"))
    issuer = {"public_key": str(tmp_path / "public.pem")}
    async with (
        server,
        Upstream(answering(told)) as upstream,
        gateway(to(upstream, identity=identity(issuer))) as rig,
    ):
        named: dict[str, Any] = {"jku": url, "x5u": url, "kid": url, "jwk": public_jwk("other RSA"), "x5c": ["AAAA"]}
        own, other = private_key("RSA"), private_key("other RSA")
        assert (await rig.ask(get("/x", bearer(shown(key=own, algorithm="RS256", **named))))).status == 200
        assert (await rig.ask(get("/x", bearer(shown(key=other, algorithm="RS256", **named))))).status == 401
        assert (await rig.ask(get("/x", bearer(shown(crit=["exp"], **named))))).status == 401
        # The public half as a secret.
        forged = shown(key=SECRET, algorithm="HS256", **named)
        assert (await rig.ask(get("/x", bearer(forged)))).status == 401
    assert hits == 0
