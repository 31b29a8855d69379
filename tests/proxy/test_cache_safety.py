"""What the cache must never do: give one caller another's answer, keep what is nobody else's, be poisoned."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.proxy.sharing import UNKEYED
from tests.proxy.caches import caching, counting
from tests.proxy.callers import keys, static, with_key
from tests.proxy.peers import Cut, Message, Upstream, Wire, answering, get, ok
from tests.proxy.stage import on_loop

FRESH = "Cache-Control: max-age=60"
PUBLIC = "Cache-Control: public, max-age=60"
TENANTS = {"one": "red", "two": "red", "three": "blue", "four": "", "five": ""}


def guarded(cache: Any, mode: str = "optional") -> dict[str, Any]:
    """Write a configuration whose callers may show API keys."""
    known = keys(*(static(name, tenant=tenant) for name, tenant in TENANTS.items()))
    return {"cache": cache, "auth": {"mode": mode}, "identity": known}


@pytest.mark.parametrize(
    ("partition", "expected"),
    [
        ("auto", ["0", "red", "red", "blue", "four", "five", "0", "red"]),
        ("identity", ["0", "one", "two", "three", "four", "five", "0", "one"]),
        ("shared", ["0"] * 8),
    ],
)
@on_loop
async def test_who_shares_answers(partition: str, expected: list[str]) -> None:
    callers = [None, *TENANTS, None, "one"]
    more = guarded({"key": {"partition": partition}})
    async with Upstream(answering(counting(PUBLIC))) as upstream, caching(upstream, **more) as rig:
        got: list[bytes] = []
        for caller in callers:
            shown = [] if caller is None else [with_key(caller)]
            got.append((await rig.ask(get("/a", *shown))).body)
        # Equal names share an answer, and others do not.
        groups: dict[str, bytes] = {}
        for name, body in zip(expected, got, strict=True):
            assert groups.setdefault(name, body) == body
        assert len(set(groups.values())) == len(groups)


@on_loop
async def test_what_was_asked_for_with_credentials_is_not_kept_unless_the_service_allows_it() -> None:
    lines = [FRESH]
    async with Upstream() as upstream, caching(upstream) as rig:
        client = await rig.client()
        links: list[Any] = []
        for number in range(4):
            if number == 2:
                lines[0] = PUBLIC
            await client.send(get("/a", "Authorization: Bearer one"))
            links = links or [await upstream.accepted()]
            if number < 3:
                await links[0].message()
                await links[0].send(ok(b"%d" % number, *lines))
            assert (await client.answer()).body == b"%d" % min(number, 2)
        # Whoever shows something else, or nothing, has no part in it: the service alone knows who that is.
        for number, shown in enumerate((["Authorization: Bearer two"], [])):
            await client.send(get("/a", *shown))
            await links[0].message()
            await links[0].send(ok(b"other %d" % number, PUBLIC))
            assert (await client.answer()).body == b"other %d" % number


@on_loop
async def test_cookies_that_are_set_are_kept_for_nobody() -> None:
    seen: list[Message] = []
    lines = (PUBLIC, "Set-Cookie: session=1")
    async with Upstream(answering(counting(*lines), seen)) as upstream, caching(upstream) as rig:
        assert [(await rig.ask(get("/a"))).body for _ in range(2)] == [b"1", b"2"]
    async with Upstream(answering(counting(*lines), seen)) as upstream, caching(upstream, {"set_cookie": True}) as rig:
        answers = [await rig.ask(get("/a")) for _ in range(2)]
        assert [answer.body for answer in answers] == [b"1", b"1"]
        # The one who asked gets his cookie, and nobody else does.
        assert [answer.get("set-cookie") for answer in answers] == ["session=1", None]


@on_loop
async def test_what_no_key_knows_does_not_reach_the_service() -> None:
    seen: list[Message] = []
    async with Upstream(answering(counting(), seen)) as upstream, caching(upstream) as rig:
        told = [f"{name.decode()}: evil.test" for name in sorted(UNKEYED)]
        told += ["X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https", "Forwarded: host=evil.test"]
        await rig.ask(get("/a", *told))
        assert "evil.test" not in str(seen[0].fields)
        assert seen[0].get("x-forwarded-proto") in (None, "http")


@on_loop
async def test_what_a_key_knows_does_reach_it() -> None:
    seen: list[Message] = []
    cache = {"key": {"headers": ["X-Host"]}}
    async with Upstream(answering(counting(), seen)) as upstream, caching(upstream, cache) as rig:
        assert [(await rig.ask(get("/a", f"X-Host: {name}"))).body for name in "aba"] == [b"1", b"2", b"1"]
        assert [each.get("x-host") for each in seen] == ["a", "b"]


@on_loop
async def test_what_a_trusted_proxy_was_asked_for_is_part_of_the_key() -> None:
    async with (
        Upstream(answering(counting())) as upstream,
        caching(upstream, forwarding={"trust": ["127.0.0.0/8"]}) as rig,
    ):
        lines: tuple[list[str], ...] = (
            ["X-Forwarded-Host: one.test"],
            ["X-Forwarded-Host: two.test"],
            ["X-Forwarded-Proto: https"],
            [],
        )
        bodies = [(await rig.ask(get("/a", *line))).body for line in (*lines, *lines)]
        assert bodies == [b"1", b"2", b"3", b"4"] * 2


@on_loop
async def test_a_refusal_of_the_gateway_is_never_kept() -> None:
    more = guarded(True, "required")
    async with Upstream(answering(counting(PUBLIC))) as upstream, caching(upstream, **more) as rig:
        assert (await rig.ask(get("/a"))).status == 401
        assert (await rig.ask(get("/a", with_key("one")))).status == 200
        # What is kept for one who may is for those alone who may.
        assert (await rig.ask(get("/a"))).status == 401


@on_loop
async def test_a_request_that_is_malformed_leaves_nothing_behind() -> None:
    async with Upstream(answering(counting())) as upstream, caching(upstream) as rig:
        bad = b"GET /a HTTP/1.1\r\nHost: example.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        client = await rig.client()
        await client.send(bad)
        assert (await client.answer()).status == 400
        assert (await rig.ask(get("/a"))).body == b"1"


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("sent", [0, 10])
@on_loop
async def test_what_is_cut_is_never_kept(framing: str, sent: int) -> None:
    whole = [False]

    async def play(link: Wire) -> None:
        await link.message()
        if whole[0]:
            await link.send(ok(b"whole", FRESH))
            return
        await link.send(f"HTTP/1.1 200 Fine\r\n{framing}\r\n{FRESH}\r\n\r\n".encode())
        if sent:
            await link.send(b"x" * sent if "Length" in framing else b"a\r\n" + b"x" * sent + b"\r\n")
        link.close()

    async with Upstream(play) as upstream, caching(upstream) as rig:
        for _ in range(2):
            with pytest.raises(Cut):
                await rig.ask(get("/a"))
        whole[0] = True
        assert (await rig.ask(get("/a"))).body == b"whole"


@on_loop
async def test_another_route_of_the_same_url_has_other_answers() -> None:
    one, two = counting(FRESH, body=lambda _: b"plain"), counting(FRESH, body=lambda _: b"beta")
    async with Upstream(answering(one)) as plain, Upstream(answering(two)) as beta:
        services = {"name": "beta", "endpoints": [beta.url]}
        route = {"name": "beta", "match": {"path": "/", "headers": {"X-Beta": "1"}}}
        async with caching(plain, extra=[{**services, "routes": [route]}]) as rig:
            for _ in range(2):
                assert (await rig.ask(get("/a"))).body == b"plain"
                assert (await rig.ask(get("/a", "X-Beta: 1"))).body == b"beta"


@on_loop
async def test_ids_and_hops_of_the_one_who_asked_are_not_told_to_others() -> None:
    lines = (FRESH, "X-Request-ID: upstream", "Connection: X-Hop", "X-Hop: 1", "X-RateLimit-Remaining: 5")
    async with Upstream(answering(counting(*lines))) as upstream, caching(upstream) as rig:
        first, second = [await rig.ask(get("/a", f"X-Request-ID: mine-{number}")) for number in range(2)]
        assert (first.get("x-request-id"), second.get("x-request-id")) == ("mine-0", "mine-1")
        assert second.get("x-hop") is None
        assert second.get("x-ratelimit-remaining") is None
