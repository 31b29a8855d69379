"""Attacks on the cache: poisoning, deception and confusion of keys, over real sockets.

Law: what one caller does or is answered must not become another one's answer.
"""

from __future__ import annotations

from typing import Any

import pytest

from headgate.core.clock import monotonic, wall
from headgate.core.steps import Reply
from headgate.policy.cache.entry import Entry
from headgate.policy.cache.key import purge_url
from headgate.proxy.filling import TOO_LARGE_SECONDS
from headgate.stores.cache.store import Cached, Purge
from tests.proxy.caches import caching, counting, stored
from tests.proxy.callers import keys, static, with_key, with_token
from tests.proxy.peers import Message, Upstream, Wire, answering, eventually, get, in_between, ok
from tests.proxy.stage import gateway, on_loop, to

FRESH = "Cache-Control: max-age=60"
PUBLIC = "Cache-Control: public, max-age=60"


def echoing(name: str, *lines: str) -> Any:
    """Answer with what the service is told in a field."""

    def answer(request: Message) -> bytes:
        return ok(", ".join(request.all(name)).encode(), *lines)

    return answer


def told_by(cookie: str) -> Any:
    """Judge a request by its cookie, and say whose it is."""

    def answer(request: Message) -> bytes:
        return ok(b"", f"X-User: {request.get(cookie)}")

    return answer


# -- who shares ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "kept"), [(FRESH, False), (PUBLIC, True)])
@on_loop
async def test_whom_another_service_knows_is_somebody_for_the_cache(line: str, kept: bool) -> None:
    seen: list[Message] = []
    async with (
        Upstream(answering(told_by("cookie"))) as judge,
        Upstream(answering(echoing("x-user", line), seen)) as upstream,
    ):
        auth = {"mode": "none", "external": {"url": judge.url, "send": ["Cookie"], "take": ["X-User"]}}
        async with caching(upstream, auth=auth) as rig:
            for _ in range(2):
                for name in ("ada", "bob"):
                    assert (await rig.ask(get("/a", f"Cookie: {name}"))).body == name.encode()
        assert len(seen) == (2 if kept else 4)


@on_loop
async def test_who_is_let_in_by_another_service_is_somebody_though_nothing_is_told_of_it() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok())) as judge, Upstream(answering(counting(FRESH), seen)) as upstream:
        auth = {"mode": "none", "external": {"url": judge.url, "send": ["Cookie"]}}
        async with caching(upstream, auth=auth) as rig:
            assert [(await rig.ask(get("/a", f"Cookie: {name}"))).body for name in "ab"] == [b"1", b"2"]


@on_loop
async def test_what_was_kept_for_everybody_is_not_found_once_it_is_not_everybodys() -> None:
    known = keys(static("one", tenant="red"))
    more = {"auth": {"mode": "optional"}, "identity": known}
    shared = {"authorized": True, "key": {"partition": "shared"}}
    async with (
        Upstream(answering(counting(FRESH))) as upstream,
        stored() as store,
        gateway({**to(upstream, cache=shared, **more), "cache_store": store}) as rig,
    ):
        assert (await rig.ask(get("/a", with_key("one")))).body == b"1"
        assert (await rig.ask(get("/a"))).body == b"1"
        rig.apply({**to(upstream, cache=True, **more), "cache_store": store})
        assert (await rig.ask(get("/a"))).body == b"2"


@pytest.mark.parametrize(
    ("before", "first", "then"),
    [({"query": "none"}, "/a?x=1", "/a"), ({"exclude": ["x"]}, "/a?x=1", "/a"), ({"headers": ["X-A"]}, "/a", "/a")],
)
@on_loop
async def test_what_was_kept_under_other_rules_of_keys_is_not_found(
    before: dict[str, Any], first: str, then: str
) -> None:
    async with (
        Upstream(answering(counting())) as upstream,
        stored() as store,
        gateway({**to(upstream, cache={"key": before}), "cache_store": store}) as rig,
    ):
        assert (await rig.ask(get(first))).body == b"1"
        assert (await rig.ask(get(then))).body == b"1"
        rig.apply({**to(upstream, cache=True), "cache_store": store})
        assert (await rig.ask(get(then))).body == b"2"
        # Back again, what was kept is there again.
        rig.apply({**to(upstream, cache={"key": before}), "cache_store": store})
        assert (await rig.ask(get(then))).body == b"1"


@on_loop
async def test_tenants_that_are_chosen_without_a_credential_are_tenants_too() -> None:
    seen: list[Message] = []
    identity = {**keys(static("one", tenant="red")), "tenant": {"header": "X-Tenant", "anonymous": True}}
    more = {"auth": {"mode": "optional"}, "identity": identity}
    async with Upstream(answering(counting(PUBLIC), seen)) as upstream, caching(upstream, **more) as rig:
        asked: tuple[list[str], ...] = (["X-Tenant: red"], ["X-Tenant: blue"], [], [with_key("one")])
        assert [(await rig.ask(get("/a", *lines))).body for lines in (*asked, *asked)] == [b"1", b"2", b"3", b"4"] * 2


@on_loop
async def test_what_the_service_judges_beside_what_the_gateway_did_counts_too() -> None:
    more = {"identity": keys(static("one", tenant="red"), static("two", tenant="red"))}
    async with Upstream(answering(echoing("authorization", PUBLIC))) as upstream, caching(upstream, **more) as rig:
        for _ in range(2):
            for caller, user in (("one", "ada"), ("one", "bob"), ("two", "bob")):
                told = await rig.ask(get("/a", with_key(caller), f"Authorization: Token {user}"))
                assert told.body == f"Token {user}".encode()
        assert [line["cache"] for line in rig.log] == ["miss", "miss", "hit", "hit", "hit", "hit"]


@on_loop
async def test_who_is_known_by_authorization_shares_with_its_tenant() -> None:
    async with Upstream(answering(counting(PUBLIC))) as upstream, caching(upstream, identity=keys()) as rig:
        for name, tenant, body in (("a", "red", b"1"), ("b", "red", b"1"), ("c", "blue", b"2")):
            assert (await rig.ask(get("/a", with_token(sub=name, tenant=tenant)))).body == body


# -- what the service is told --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "X-Caller"])
@on_loop
async def test_answers_vary_by_what_the_gateway_tells_of_the_client(name: str) -> None:
    headers = {"request": {"set": {"X-Caller": "{client}"}}}
    async with Upstream(answering(echoing(name.lower(), FRESH, f"Vary: {name}"))) as upstream:
        trusting = {"forwarding": {"trust": ["127.0.0.0/8"]}, "route": {"headers": headers}}
        async with caching(upstream, **trusting) as rig:
            for _ in range(2):
                for address in ("192.0.2.1", "192.0.2.2"):
                    told = (await rig.ask(get("/a", f"X-Forwarded-For: {address}", "X-Caller: me"))).body
                    assert told.startswith(address.encode())
            assert [line["cache"] for line in rig.log] == ["miss", "miss", "hit", "hit"]


@on_loop
async def test_a_prefix_told_by_a_trusted_proxy_is_part_of_the_key() -> None:
    async with (
        Upstream(answering(echoing("x-forwarded-prefix", FRESH))) as upstream,
        caching(upstream, forwarding={"trust": ["127.0.0.0/8"]}) as rig,
    ):
        for prefix in ("/one", "/two", "/one"):
            assert (await rig.ask(get("/a", f"X-Forwarded-Prefix: {prefix}"))).body == prefix.encode()


@on_loop
async def test_an_origin_that_is_allowed_by_name_is_allowed_to_nobody_else() -> None:
    def answer(request: Message) -> bytes:
        return ok(b"x", FRESH, f"Access-Control-Allow-Origin: {request.get('origin')}")

    async with Upstream(answering(answer)) as upstream, caching(upstream) as rig:
        for origin in ("https://evil.test", "https://good.test", "https://evil.test"):
            told = await rig.ask(get("/a", f"Origin: {origin}"))
            assert told.get("access-control-allow-origin") == origin


@on_loop
async def test_names_in_other_cases_and_with_the_default_port_are_one_host() -> None:
    async with Upstream(answering(counting())) as upstream, caching(upstream) as rig:
        hosts = (b"example.test", b"EXAMPLE.test", b"example.test:80", b"example.test:81", b"example.test.")
        bodies = [(await rig.ask(get("/a").replace(b"example.test", host))).body for host in hosts]
        assert bodies[:3] == [b"1"] * 3
        assert bodies[3] != b"1"


@pytest.mark.parametrize("target", ["/x/../a/b", "/a/./b", "/%61/b", "/a/%62"])
@on_loop
async def test_the_service_sees_the_path_that_the_key_has(target: str) -> None:
    seen: list[Message] = []
    async with Upstream(answering(counting(), seen)) as upstream, caching(upstream) as rig:
        assert [(await rig.ask(get(path))).body for path in (target, "/a/b")] == [b"1"] * 2
        assert [each.target for each in seen] == ["/a/b"]


# -- what is kept --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [428, 429, 431, 511])
@on_loop
async def test_what_is_said_of_a_client_is_not_said_to_others(status: int) -> None:
    seen: list[Message] = []
    answers = [ok(b"you", PUBLIC, status=status), ok(b"all", PUBLIC)]
    async with Upstream(answering(lambda _: answers[len(seen) > 1], seen)) as upstream, caching(upstream) as rig:
        assert [(await rig.ask(get("/a"))).status for _ in range(2)] == [status, 200]


@on_loop
async def test_a_part_that_is_not_there_does_not_become_the_whole() -> None:
    def answer(request: Message) -> bytes:
        if request.get("range"):
            return ok(b"", PUBLIC, "Content-Range: bytes */9", status=416)
        if request.get("if-match"):
            return ok(b"", PUBLIC, status=412)
        return ok(b"whole", "Cache-Control: no-store")

    async with Upstream(answering(answer)) as upstream, caching(upstream) as rig:
        assert (await rig.ask(get("/a"))).body == b"whole"
        # It is known now that nothing is kept here, so the service is asked as the client has asked.
        assert (await rig.ask(get("/a", "Range: bytes=99-"))).status == 416
        assert (await rig.ask(get("/a", 'If-Match: "x"'))).status == 412
        assert (await rig.ask(get("/a"))).body == b"whole"


@on_loop
async def test_events_of_one_client_are_not_anothers() -> None:
    async def play(link: Wire) -> None:
        await link.message()
        head = (
            "HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await link.send(f"{head}1\r\n{len(upstream.links)}\r\n".encode())
        await link.message()

    async with Upstream(play) as upstream, caching(upstream, {"ttl": 60}) as rig:
        clients = [await rig.client() for _ in range(2)]
        for number, client in enumerate(clients):
            await client.send(get("/a"))
            await client.head()
            assert await client.chunk() == b"%d" % (number + 1)
        for each in (*upstream.links, *clients):
            each.cut()


@on_loop
async def test_what_the_operator_writes_reaches_the_service_whatever_its_name() -> None:
    seen: list[Message] = []
    headers = {"request": {"set": {"X-Host": "{host}"}}}
    async with Upstream(answering(counting(), seen)) as upstream, caching(upstream, route={"headers": headers}) as rig:
        await rig.ask(get("/a", "X-Host: evil.test"))
        assert seen[0].get("x-host") == "example.test"


@pytest.mark.parametrize("cache", [{"default_ttl": 60}, {"negative": {"statuses": [404], "ttl": 60}}])
@on_loop
async def test_what_says_nothing_of_it_is_not_kept_where_it_may_be_one_callers(cache: dict[str, Any]) -> None:
    status = 404 if "negative" in cache else 200
    answer = echoing("cookie")

    def play(request: Message) -> bytes:
        told: bytes = answer(request)
        return told.replace(b" 200 ", b" %d " % status)

    async with Upstream(answering(play)) as upstream, caching(upstream, cache) as rig:
        for name in ("ada", "bob"):
            assert (await rig.ask(get("/account/x.css", f"Cookie: user={name}"))).body == f"user={name}".encode()
        assert (await rig.ask(get("/account/x.css"))).body == b""
        assert (await rig.ask(get("/account/x.css"))).get("age") == "0"


@pytest.mark.parametrize("status", [200, 403, 404])
@on_loop
async def test_an_old_answer_goes_once_another_one_is_given_that_is_not_kept(status: int) -> None:
    old = [True]

    def answer(_: Message) -> bytes:
        if old[0]:
            lines = (
                "Age: 60",
                "Cache-Control: max-age=60, stale-while-revalidate=900, stale-if-error=900",
                'ETag: "o"',
            )
            return ok(b"old", *lines)
        return ok(b"new", "Cache-Control: no-store", status=status)

    seen: list[Message] = []
    async with Upstream(answering(answer, seen)) as upstream, caching(upstream) as rig:
        assert (await rig.ask(get("/a"))).body == b"old"
        old[0] = False
        assert (await rig.ask(get("/a"))).body == b"old"
        await eventually(lambda: len(seen) == 2 and not rig.gateway.refreshes._under_way)
        told = await rig.ask(get("/a"))
        assert (told.status, told.body) == (status, b"new")


@on_loop
async def test_a_fault_that_is_injected_is_nobodys_answer() -> None:
    async with Upstream(answering(counting())) as upstream, stored() as store:
        fault = {"abort": {"status": 404, "percent": 100}}
        faulty = to(upstream, cache={"negative": {"ttl": 60}}, route={"fault": fault})
        async with gateway({**faulty, "cache_store": store}) as rig:
            assert (await rig.ask(get("/a"))).status == 404
            rig.apply({**to(upstream, cache={"negative": {"ttl": 60}}), "cache_store": store})
            assert (await rig.ask(get("/a"))).body == b"1"


@on_loop
async def test_an_entry_whose_body_is_not_as_long_as_it_says_is_none() -> None:
    seen: list[Message] = []
    async with Upstream(answering(counting(), seen)) as upstream, caching(upstream) as rig:
        assert (await rig.ask(get("/a"))).body == b"1"
        store = rig.gateway.caching.store
        assert store is not None
        found = store.get

        def cut(key: bytes) -> Cached | None:
            kept = found(key)
            assert not isinstance(kept, Reply)
            return kept._replace(body=b"") if kept is not None else None

        rig.gateway.caching._opening.store = _Instead(store, cut)
        assert (await rig.ask(get("/a"))).body == b"2"
        rig.gateway.caching._opening.store = store


class _Instead:
    """A store that finds something else."""

    def __init__(self, store: Any, get: Any) -> None:
        self._store = store
        self.get = get

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


# -- forgetting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["/a?utm_source=x", "/a?utm_source=x&", "/a"])
@on_loop
async def test_a_url_is_purged_whatever_parameters_came_with_it_that_do_not_count(asked: str) -> None:
    async with Upstream(answering(counting())) as upstream, caching(upstream, {"key": {"exclude": ["utm_*"]}}) as rig:
        assert (await rig.ask(get(asked))).body == b"1"
        store = rig.gateway.caching.store
        assert store is not None
        store.purge(Purge("url", purge_url("http://example.test/a")))
        assert (await rig.ask(get(asked))).body == b"2"
        # A parameter that counts for nothing makes no other request.
        assert (await rig.ask(get("/a"))).body == b"2"


@on_loop
async def test_a_url_is_purged_as_clients_of_a_trusted_proxy_write_it() -> None:
    async with (
        Upstream(answering(counting())) as upstream,
        caching(upstream, forwarding={"trust": ["127.0.0.0/8"]}) as rig,
    ):
        ask = get("/a", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.test")
        assert (await rig.ask(ask)).body == b"1"
        store = rig.gateway.caching.store
        assert store is not None
        store.purge(Purge("url", purge_url("https://shop.test/a")))
        assert (await rig.ask(ask)).body == b"2"
        # And a change is one of what was asked for.
        assert (await rig.ask(ask.replace(b"GET", b"POST"))).status == 200
        assert (await rig.ask(ask)).body == b"4"


# -- wearing it out ------------------------------------------------------------------------------------------------


@on_loop
async def test_clients_that_do_not_read_share_one_copy_of_a_large_body() -> None:
    async with Upstream(answering(counting())) as upstream, caching(upstream) as rig:
        entry = Entry(200, [], wall())
        entry.lifetime, entry.length = 60.0, in_between()
        # Found by each request as a copy of its own.
        store = rig.gateway.caching.store
        rig.gateway.caching._opening.store = _Instead(store, lambda _: Cached(entry.encode(), bytes(entry.length)))
        lent = rig.gateway.caching._lent
        clients = [await rig.client() for _ in range(3)]
        for client in clients:
            await client.send(get("/a"))
            assert (await client.head()).status == 200
        assert [each.users for each in lent.values()] == [3]
        for client in clients:
            client.cut()
        await eventually(lambda: not rig.gateway.in_flight)
        assert not lent
        rig.gateway.caching._opening.store = store


def old_first(seen: list[Message]) -> Any:
    """Answer the first time with what is old already, and later not at all."""

    async def play(link: Wire) -> None:
        while True:
            seen.append(await link.message())
            if len(seen) == 1:
                await link.send(ok(b"old", "Age: 60", "Cache-Control: max-age=60, stale-while-revalidate=900"))

    return play


@on_loop
async def test_an_old_answer_is_fetched_anew_once_at_a_time_whoever_collapses() -> None:
    seen: list[Message] = []
    async with Upstream(old_first(seen)) as upstream, caching(upstream, {"collapse": False}) as rig:
        for _ in range(5):
            assert (await rig.ask(get("/a"))).body == b"old"
        await eventually(lambda: len(seen) == 2)
        assert len(rig.gateway.refreshes._under_way) == 1


@on_loop
async def test_who_is_in_haste_does_not_keep_an_old_answer_in_place() -> None:
    seen: list[Message] = []
    haste = {"timeout": {"deadline_header": "X-Deadline"}}
    async with Upstream(answering(_renewed, seen)) as upstream, caching(upstream, **haste) as rig:
        assert (await rig.ask(get("/a", "X-Deadline: 10000"))).body == b"old"
        # It is given in no time, and what is fetched behind it has all the time that it needs.
        assert (await rig.ask(get("/a", "X-Deadline: 0"))).body == b"old"
        await eventually(lambda: len(seen) == 2 and not rig.gateway.refreshes._under_way)
        assert seen[1].get("x-deadline") is None
        assert (await rig.ask(get("/a"))).body == b"new"


def _renewed(request: Message) -> bytes:
    if request.get("x-deadline"):
        return ok(b"old", "Age: 60", "Cache-Control: max-age=60, stale-while-revalidate=900")
    return ok(b"new", FRESH)


@on_loop
async def test_nobody_waits_for_the_slowest_again_where_answers_are_too_large() -> None:
    async def play(link: Wire) -> None:
        await link.message()
        await link.send(f"HTTP/1.1 200 Fine\r\n{FRESH}\r\n\r\n".encode() + b"x" * 100)
        link.close()

    async with Upstream(play) as upstream, caching(upstream, {"max_entry": 10}) as rig:
        assert len((await rig.ask(get("/a"))).body) == 100
        caching_, (key,) = rig.gateway.caching, rig.gateway.caching._passing
        now = monotonic()
        assert caching_.passes(key, now + TOO_LARGE_SECONDS - 60)
        assert not caching_.passes(key, now + TOO_LARGE_SECONDS)


@on_loop
async def test_whoever_makes_the_service_fail_fails_alone() -> None:
    seen: list[Message] = []

    async def play(link: Wire) -> None:
        while True:
            request = await link.message()
            seen.append(request)
            if request.get("x-bomb"):
                await eventually(lambda: rig.gateway.in_flight == 6)
                link.cut()
                return
            await link.send(ok(b"good", FRESH))

    plain = {"service": {"retry": {"attempts": 0}}}
    async with Upstream(play) as upstream, caching(upstream, **plain) as rig:
        bomb = await rig.client()
        await bomb.send(get("/a", "X-Bomb: 1"))
        await eventually(lambda: len(seen) == 1)
        clients = [await rig.client() for _ in range(5)]
        for client in clients:
            await client.send(get("/a"))
        assert (await bomb.answer()).status == 502
        assert [(await client.answer()).body for client in clients] == [b"good"] * 5
        assert len(seen) == 2


@on_loop
async def test_whoever_makes_the_service_slow_keeps_nobody_waiting_for_long() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        slow, client = await rig.client(), await rig.client()
        await slow.send(get("/a", "Cookie: slow=1"))
        first = await upstream.accepted()
        await first.message()
        (fill,) = rig.gateway.caching.fills.values()
        assert monotonic() < fill.alone_until < monotonic() + 5.1
        fill.alone_until = monotonic()
        await client.send(get("/a"))
        second = await upstream.accepted()
        await second.message()
        await second.send(ok(b"quick", FRESH))
        assert (await client.answer()).body == b"quick"
        await first.send(ok(b"slow", FRESH))
        assert (await slow.answer()).body == b"slow"


@on_loop
async def test_what_was_asked_for_with_another_store_is_not_kept_in_this_one() -> None:
    async with (
        Upstream() as upstream,
        stored() as before,
        stored() as after,
        gateway({**to(upstream, cache=True), "cache_store": before}) as rig,
    ):
        old = rig.gateway.caching.store
        assert old is not None
        for _ in range(5):
            old.purge(Purge("all", ""))
        client, other = await rig.client(), await rig.client()
        await client.send(get("/a"))
        first = await upstream.accepted()
        await first.message()
        rig.apply({**to(upstream, cache=True), "cache_store": after})
        # Nobody joins it, either: what is purged from now on is not known of it.
        await other.send(get("/a"))
        second = await upstream.accepted()
        await second.message()
        await first.send(ok(b"old", FRESH))
        assert (await client.answer()).body == b"old"
        await second.send(ok(b"new", FRESH))
        assert (await other.answer()).body == b"new"
        assert (await rig.ask(get("/a"))).body == b"new"
